"""How a fused function enters the graph: a hand-derived gradient on arrays, and its definition for everything beyond.

A fused function does in a few passes over memory what its `..._reference`, composed of primitives, does in many. Its
gradient rule works on arrays; when a second derivative is asked for, the reference is recorded and differentiated
instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minigrad.autograd import differentiate
from minigrad.modes import mode
from minigrad.tensor import Tensor, record


def record_fused(data: Any, inputs: Sequence[Tensor], vjp: Callable, reference: Callable) -> Tensor:
    """The result `data` with the rule `vjp(g, needs) -> arrays`, one for each input, None where there is no gradient.

    `g` is an array; `needs` says for each input whether its gradient is wanted; a LazyGradient may stand for an array.
    `reference(*inputs)` is the same function in primitives.
    """
    if not mode.recording:
        return record(data, inputs, vjp)  # nobody will call it
    needs = tuple(x.requires_grad for x in inputs)

    def rule(g: Any, out: None) -> tuple:
        return differentiate(reference, inputs, g) if isinstance(g, Tensor) else vjp(g, needs)

    rule.__qualname__ = vjp.__qualname__  # the op's name, for people who look at the graph
    return record(data, inputs, rule)
