"""Gradient checkpointing: compute again in the backward pass instead of saving (Chen et al. 2016, arXiv:1604.06174)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minigrad.backward import backpropagate
from minigrad.graph import Rule, timestamp
from minigrad.lazy import Gradient, materialize
from minigrad.modes import mode, no_grad, op_hook, recording
from minigrad.random import replay, stream_state
from minigrad.tensor import Tensor, gradient_edge, record


def checkpoint(f: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`f(*inputs)`, without keeping what is inside: the backward pass runs `f` again when it needs the graph.

    Values and gradients are those of `f(*inputs)`, also for parameters and other tensors that `f` uses without being
    given them, for dropout inside, and for second derivatives. `f` returns one tensor. It must do the same each time,
    so nothing that it uses may be changed between forward and backward.
    """
    if not mode.recording:
        return f(*inputs)
    state = stream_state()
    value, used = _run_unrecorded(f, inputs)
    if value.requires_grad:  # f returned a tensor from outside, as it is
        return value
    edges = [gradient_edge(x) for x in used]

    def vjp(g: Gradient, out: None) -> tuple:
        create_graph, start = mode.recording, timestamp()
        with recording(True), replay(state):
            again = f(*inputs)
        found: dict[Any, Gradient] = {}

        def on_leaf(edge: Any, gradient: Gradient) -> None:
            found[edge] = gradient if edge not in found else materialize(found[edge]) + materialize(gradient)

        # Everything that `f` did not make just now counts as a leaf: the gradient stops there, and the pass that called
        # this rule carries it on.
        seeds = [(again, g)] if again.requires_grad else []
        backpropagate(seeds, on_leaf, create_graph=create_graph, since=start)
        return tuple(map(found.get, edges))

    return record(value.data, used, vjp)


def _run_unrecorded(f: Callable, inputs: Sequence) -> tuple[Tensor, list[Tensor]]:
    """`f(*inputs)`, and the tensors that `f` used and that require a gradient.

    Nothing is recorded inside, so a tensor that requires a gradient comes from outside of `f`.
    """
    used: dict[int, Tensor] = {}

    def note_inputs(data: Any, op_inputs: Sequence[Tensor], vjp: Rule) -> Rule:
        used.update((id(x), x) for x in op_inputs if x.requires_grad)
        return vjp

    with op_hook(note_inputs), no_grad():
        value = f(*inputs)
    if not isinstance(value, Tensor):
        raise TypeError(
            f"checkpoint needs a function that returns one tensor, this one returned a {type(value).__name__}; "
            f"join several with concatenate, or checkpoint their parts"
        )
    return value, list(used.values())
