"""Gradient checkpointing: compute again in the backward pass instead of saving (Chen et al. 2016, arXiv:1604.06174)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minigrad.graph import _numbers, materialize, mode, no_grad, recording, watching
from minigrad.random import replay, stream_state
from minigrad.tensor import Tensor, backpropagate, record, source


def checkpoint(f: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`f(*inputs)`, of which only the inputs are kept: the backward pass runs `f` again, and has its graph for just
    that moment.

    Values and gradients are those of `f(*inputs)`, also for parameters and other tensors that `f` uses without being
    given them, for dropout inside, and for second derivatives. `f` returns one tensor, and must do the same each time:
    what it uses may not be written to between forward and backward.
    """
    if not mode.recording:
        return f(*inputs)
    state = stream_state()
    value, used = _run_unrecorded(f, inputs)
    if value.requires_grad:  # f gave back a tensor from outside as it is
        return value
    places = [source(x) for x in used]

    def vjp(g: Any, out: None) -> tuple:
        create_graph, begin = mode.recording, next(_numbers)
        with recording(True), replay(state):
            again = f(*inputs)
        found: dict[Any, Any] = {}

        def collect(place: Any, share: Any) -> None:
            found[place] = share if place not in found else materialize(found[place]) + materialize(share)

        backpropagate([(again, g)] if again.requires_grad else [], collect, create_graph=create_graph, oldest=begin)
        return tuple(map(found.get, places))

    return record(value.data, used, vjp)


def _run_unrecorded(f: Callable, inputs: Sequence) -> tuple[Tensor, list[Tensor]]:
    """`f(*inputs)` and the tensors it used that require a gradient. All of them come from outside, for nothing is
    recorded inside.
    """
    used: dict[int, Tensor] = {}

    def look(data: Any, sources: Sequence[Tensor], vjp: Callable) -> Callable:
        used.update((id(x), x) for x in sources if x.requires_grad)
        return vjp

    with watching(look), no_grad():
        value = f(*inputs)
    if not isinstance(value, Tensor):
        raise TypeError(
            f"checkpoint needs a function that returns one tensor, this one returned a {type(value).__name__}; "
            f"join several with concatenate, or checkpoint their parts"
        )
    return value, list(used.values())
