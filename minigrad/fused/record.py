"""How a fused function enters the graph: with a gradient derived by hand, and its definition for everything beyond.

A fused function does in a few passes over memory what its `..._reference`, composed of primitives, does in many. Its
gradient rule works on arrays. When a second derivative is asked for, the engine wants the gradient as a Tensor with a
history of its own. Then the reference is recorded and differentiated instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minigrad.autograd import differentiate
from minigrad.backend import Array
from minigrad.lazy import Gradient
from minigrad.modes import mode
from minigrad.tensor import Tensor, record

Needs = Sequence[bool]  # for each input, whether its gradient is wanted


def record_fused(
    data: Array,
    inputs: Sequence[Tensor],
    vjp: Callable[[Array, Needs], Sequence[Gradient]],
    reference: Callable[..., Tensor],
) -> Tensor:
    """The result `data` of a fused function as a Tensor, with a node in the graph.

    `vjp(g, needs)`: from the gradient of the result, an array, it computes a gradient for each input: an array, a
    LazyGradient, or None. `reference(*inputs)`: the same function composed of primitives.
    """
    if not mode.recording:
        return record(data, inputs, vjp)  # the rule is only looked at, for the name of the op; it is never called
    needs = tuple(x.requires_grad for x in inputs)

    def rule(g: Gradient, out: None) -> Sequence[Gradient]:
        return differentiate(reference, inputs, g) if isinstance(g, Tensor) else vjp(g, needs)

    rule.__qualname__ = vjp.__qualname__  # from which the graph takes the op's name
    return record(data, inputs, rule)
