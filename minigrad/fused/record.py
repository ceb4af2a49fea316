"""How a fused function enters the graph: with a gradient derived by hand, and its definition for higher derivatives.

A fused function does in a few passes over memory what its `..._reference`, composed of primitives, does in many. Its
gradient rule works on arrays, which have no history and cannot be differentiated again. So for second derivatives, with
`create_graph`, the reference is recorded and differentiated instead.
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
        return record(data, inputs, vjp)  # the rule is never called; an op hook may read its name
    needs = tuple(x.requires_grad for x in inputs)

    def rule(g: Gradient, out: None) -> Sequence[Gradient]:
        # `g` is a Tensor only with create_graph.
        return differentiate(reference, inputs, g) if isinstance(g, Tensor) else vjp(g, needs)

    rule.__qualname__ = vjp.__qualname__  # the graph reads the name of the op from it
    return record(data, inputs, rule)
