"""Derivatives as functions: `grad`, `vjp`, `jvp`, `hvp`, and differentiating a function that is recorded anew.

`Tensor.backward` fills `.grad` of leaves; these return the gradients instead and touch no `.grad`. The signatures
follow `torch.autograd` and `torch.autograd.functional`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.backward import backpropagate, seed_gradient
from minigrad.graph import Node
from minigrad.lazy import Gradient, materialize
from minigrad.modes import mode, recording
from minigrad.tensor import Tensor, gradient_edge, identity, tensor


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Any:
    """The gradients of `outputs` with respect to `inputs` (leaves or not): a Tensor for one input, else a tuple.

    `grad_outputs`: what to begin with, one for each output; may be left out for single numbers. An input that the
    outputs do not depend on gets zeros. The graph is freed unless `retain_graph` (default: `create_graph`).
    """
    outs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    ins = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    seeds = (
        (None,) * len(outs)
        if grad_outputs is None
        else (grad_outputs,)
        if isinstance(outputs, Tensor)
        else grad_outputs
    )
    begin = [(out, seed_gradient(out, seed)) for out, seed in zip(outs, seeds, strict=True) if out.requires_grad]
    found = _gradients(begin, ins, bool(create_graph if retain_graph is None else retain_graph), create_graph)
    return found[0] if isinstance(inputs, Tensor) else found


def _gradients(
    seeds: Sequence[tuple[Tensor, Any]], inputs: Sequence[Tensor], retain_graph: bool, create_graph: bool
) -> tuple:
    edges = [gradient_edge(x) for x in inputs]
    if any(edge is None for edge in edges):
        raise ValueError(
            "grad() with respect to a tensor that does not require a gradient; make it with requires_grad=True"
        )
    found: dict[Any, Gradient] = dict.fromkeys(edges)

    def on_leaf(leaf: Tensor | Node, gradient: Gradient) -> None:
        if leaf in found:
            gradient = materialize(gradient)
            found[leaf] = gradient if found[leaf] is None else found[leaf] + gradient

    def on_node(node: Node, gradient: Gradient) -> None:
        if node in found:
            found[node] = gradient

    # What is no newer than the oldest of these nodes cannot lead to another one. A leaf can be reached from any node.
    since = min(0 if isinstance(edge, Tensor) else edge.number + 1 for edge in edges if edge is not None)
    backpropagate(seeds, on_leaf, retain_graph=retain_graph, create_graph=create_graph, since=since, on_node=on_node)
    return tuple(tensor(np.zeros_like(x.data) if found[e] is None else found[e]) for e, x in zip(edges, inputs))


def vjp(f: Callable, inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Tensor, Any]:
    """`f(*inputs)` and the vector-Jacobian product: the gradient of `(f * v).sum()` with respect to each input."""
    xs, out = _recorded(f, inputs)
    found = grad(out, xs, v, create_graph=create_graph)
    return out.detach(), found[0] if isinstance(inputs, Tensor) else found


def jvp(f: Callable, inputs: Any, v: Any, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """`f(*inputs)` and the Jacobian-vector product, by two VJPs: u -> J^T u is linear, and its own VJP applied to v is
    J v.
    """
    (xs, out), vs = _recorded(f, inputs), (v,) if isinstance(inputs, Tensor) else tuple(v)
    u = Tensor(np.zeros_like(out.data), requires_grad=True)
    pulled = grad(out, xs, u, create_graph=True)
    return out.detach(), grad(pulled, u, vs, create_graph=create_graph)


def hvp(f: Callable, inputs: Any, v: Any, create_graph: bool = False) -> tuple[Tensor, Any]:
    """`f(*inputs)`, a single number, and the product of its Hessian with `v`: the gradient of (gradient * v).sum()."""
    (xs, out), vs = _recorded(f, inputs), (v,) if isinstance(inputs, Tensor) else tuple(v)
    slopes = grad(out, xs, create_graph=True)
    found = grad(slopes, xs, vs, create_graph=create_graph)
    return out.detach(), found[0] if isinstance(inputs, Tensor) else found


def _recorded(f: Callable, inputs: Any) -> tuple[tuple[Tensor, ...], Tensor]:
    """Stand-ins for the inputs and `f` of them, recorded also where the caller records nothing (under no_grad)."""
    with recording(True):
        xs = fresh(inputs)
        return xs, f(*xs)


def fresh(inputs: Any) -> tuple[Tensor, ...]:
    """Stand-ins for the inputs, each a variable of its own, still connected to where the inputs came from."""
    xs = (inputs,) if isinstance(inputs, Tensor) else tuple(tensor(x) for x in inputs)
    return tuple(identity(x) if x.requires_grad else Tensor(x.data, requires_grad=True) for x in xs)


def differentiate(f: Callable, inputs: Sequence[Tensor], g: Tensor) -> tuple[Tensor | None, ...]:
    """The rule of a function that was not recorded: record `f(*inputs)` now, and carry `g` back to the inputs.

    In a backward pass with create_graph the gradients stay connected to `inputs` and `g`.
    """
    create_graph = mode.recording
    with recording(True):
        copies = [identity(x) for x in inputs]
        out = f(*copies)
    needed = [x for x in copies if x.requires_grad]
    found = iter(_gradients([(out, g)], needed, create_graph, create_graph))
    return tuple(next(found) if x.requires_grad else None for x in copies)
