"""Gradient checkpointing: save memory by computing again in the backward pass (Chen et al. 2016, arXiv:1604.06174).

Ordinarily every operation saves arrays for its gradient rule. A checkpointed function saves its inputs only. In the
backward pass it is run a second time, now recorded; its arrays live until its own gradients have been computed:

    for block in blocks:
        x = checkpoint(block, x)        each block is computed twice; only one at a time holds its arrays in memory
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minigrad.backend import Array
from minigrad.backward import backpropagate
from minigrad.graph import Node, Rule, timestamp
from minigrad.lazy import Gradient, materialize
from minigrad.modes import mode, no_grad, op_hook, recording
from minigrad.precision import current_precision, products_in
from minigrad.random import replay, stream_state
from minigrad.tensor import Tensor, gradient_edge, record


def checkpoint(f: Callable[..., Tensor], *inputs: object) -> Tensor:
    """`f(*inputs)`, without saving what its operations need for the backward pass; `f` is run again there.

    Values and gradients are those of `f(*inputs)`. That holds also for dropout inside, for second derivatives, and for
    tensors that `f` uses but does not get as inputs, such as parameters. `f` must return one tensor, else TypeError is
    raised. It must do the same each time, so nothing that it uses may change between the forward and the backward pass.
    """
    if not mode.recording:
        return f(*inputs)
    state = stream_state()  # so that the second run draws the same dropout masks
    precision = current_precision()
    value, used = _run_unrecorded(f, inputs)
    if value.requires_grad:  # no operation of `f` made it: `f` returned a tensor that existed before
        return value
    edges = [gradient_edge(x) for x in used]

    def vjp(g: Gradient, out: None) -> tuple[Gradient, ...]:
        create_graph, start = mode.recording, timestamp()
        with recording(True), replay(state), products_in(precision):
            again = f(*inputs)
        gradients: dict[Node | Tensor, Gradient] = {}

        def on_leaf(edge: Node | Tensor, gradient: Gradient) -> None:
            if edge in gradients:
                gradient = materialize(gradients[edge]) + materialize(gradient)
            gradients[edge] = gradient

        # This inner pass goes only through the nodes of the second run. Older nodes count as leaves: the gradient stops
        # there, and the outer backward pass, which called this rule, carries it on.
        seeds = [(again, g)] if again.requires_grad else []
        backpropagate(seeds, on_leaf, create_graph=create_graph, since=start)
        return tuple(None if edge is None else gradients.get(edge) for edge in edges)

    return record(value.data, used, vjp)


def _run_unrecorded(f: Callable[..., Tensor], inputs: Sequence[object]) -> tuple[Tensor, list[Tensor]]:
    """`f(*inputs)`, and the tensors that `f` used and that require a gradient.

    Results inside of `f` are not recorded and require no gradient. So a tensor that requires one comes from outside.
    """
    used: dict[int, Tensor] = {}

    def note_inputs(data: Array, op_inputs: Sequence[Tensor], vjp: Rule) -> Rule:
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
