"""Derivatives as functions: `grad`, `vjp`, `jvp`, `hvp`. The signatures follow `torch.autograd`.

`Tensor.backward` adds to `.grad` of the leaves. These functions return the gradients instead, and touch no `.grad`.

For y = f(x) with the Jacobian matrix J = dy/dx:

    vjp     v J         a row vector times J: one backward pass
    jvp     J v         J times a column vector: two backward passes
    hvp     H v         for a single number y, with the Hessian H, the matrix of second derivatives

None of them computes the matrix itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.backward import backpropagate, seed_gradient
from minigrad.graph import Node
from minigrad.lazy import Gradient, materialize
from minigrad.modes import mode, recording
from minigrad.tensor import Tensor, as_tensor, gradient_edge, identity

# --- grad -------------------------------------------------------------------------------------------------------------


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Any:
    """The gradients of `outputs` with respect to `inputs`: a Tensor for one input, a tuple for a sequence.

    `inputs`: leaves or results in the graph; one that the outputs do not depend on gets zeros. `grad_outputs`: the
    gradient of each output; may be left out for single numbers. The graph is freed unless `retain_graph` (default:
    `create_graph`).
    """
    outs, xs = _as_tuple(outputs), _as_tuple(inputs)
    given = (None,) * len(outs) if grad_outputs is None else _vectors(grad_outputs, outputs, len(outs), "grad_outputs")
    for x in (*outs, *xs):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"grad() takes tensors that belong to a graph as outputs and inputs, not {type(x).__name__}"
            )
    seeds = [(out, seed_gradient(out, g)) for out, g in zip(outs, given) if out.requires_grad]
    retain_graph = create_graph if retain_graph is None else retain_graph
    gradients = _gradients(seeds, xs, retain_graph=retain_graph, create_graph=create_graph)
    return gradients[0] if _is_one(inputs) else gradients


def _is_one(inputs: Any) -> bool:
    """Whether this is one input, a tensor, an array or a number, and not a sequence of inputs."""
    return isinstance(inputs, Tensor) or hasattr(inputs, "dtype") or isinstance(inputs, (int, float))


def _as_tuple(inputs: Any) -> tuple:
    """One input or a sequence of inputs as a tuple."""
    return (inputs,) if _is_one(inputs) else tuple(inputs)


def _vectors(vectors: Any, inputs: Any, count: int, name: str) -> tuple:
    """The argument `vectors` as a tuple: one vector for each of the `count` inputs. Raises ValueError if it has not."""
    vs = (vectors,) if _is_one(inputs) else _as_tuple(vectors)
    if len(vs) != count:
        difference = "shorter" if len(vs) < count else "longer"
        raise ValueError(f"{name} is {difference} than expected: {len(vs)} for {count} tensors; give one for each")
    return vs


def _gradients(
    seeds: Sequence[tuple[Tensor, Gradient]], inputs: Sequence[Tensor], *, retain_graph: bool, create_graph: bool
) -> tuple[Tensor, ...]:
    """The gradients of the inputs, by a backward pass that starts from `seeds`, pairs (tensor, gradient)."""
    edges = [gradient_edge(x) for x in inputs]
    if any(edge is None for edge in edges):
        raise ValueError(
            "grad() with respect to a tensor that does not require a gradient; make it with requires_grad=True"
        )
    gradients: dict[Any, Gradient] = dict.fromkeys(edges)  # those that have arrived at the inputs

    def on_leaf(leaf: Tensor | Node, gradient: Gradient) -> None:
        if leaf in gradients:
            gradient = materialize(gradient)
            gradients[leaf] = gradient if gradients[leaf] is None else gradients[leaf] + gradient

    def on_node(node: Node, gradient: Gradient) -> None:
        if node in gradients:
            gradients[node] = gradient

    # The pass may end early. It goes from newer nodes to older ones, so once it is past the oldest input, it can reach
    # no other input. But a leaf may be used by any node: if an input is a leaf, the pass goes on to the end.
    since = min((0 if isinstance(edge, Tensor) else edge.number + 1 for edge in edges if edge is not None), default=0)
    backpropagate(seeds, on_leaf, retain_graph=retain_graph, create_graph=create_graph, since=since, on_node=on_node)
    arrived = (gradients[edge] for edge in edges)
    return tuple(as_tensor(np.zeros_like(x.data) if g is None else g) for g, x in zip(arrived, inputs))


# --- products with Jacobians and Hessians -----------------------------------------------------------------------------


def vjp(f: Callable, inputs: Any, v: Any = None, *, create_graph: bool = False) -> tuple[Tensor, Any]:
    """`f(*inputs)` and the vector-Jacobian product v J: the gradient of `(f * v).sum()` with respect to each input."""
    xs, out = _record_anew(f, inputs)
    gradients = grad(out, xs, v, create_graph=create_graph)
    return out.detach(), gradients[0] if _is_one(inputs) else gradients


def jvp(f: Callable, inputs: Any, v: Any, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """`f(*inputs)` and the Jacobian-vector product J v."""
    xs, out = _record_anew(f, inputs)
    vs = _vectors(v, inputs, len(xs), "v")
    # Two backward passes give the product with a column. The first computes w(u) = u J, which is linear in u, and its
    # Jacobian is J transposed. So the second, the gradient of (w * v).sum() with respect to u, is J v. The value of u
    # does not matter, hence zeros.
    u = Tensor(np.zeros_like(out.data), requires_grad=True)
    w = grad(out, xs, u, create_graph=True)
    return out.detach(), grad(w, u, vs, create_graph=create_graph)


def hvp(f: Callable, inputs: Any, v: Any, *, create_graph: bool = False) -> tuple[Tensor, Any]:
    """`f(*inputs)`, a single number, and the product H v of its Hessian with `v`."""
    xs, out = _record_anew(f, inputs)
    vs = _vectors(v, inputs, len(xs), "v")
    # H is the Jacobian of the gradient, and symmetric: H v = v H is the gradient of (gradient * v).sum().
    first = grad(out, xs, create_graph=True)
    second = grad(first, xs, vs, create_graph=create_graph)
    return out.detach(), second[0] if _is_one(inputs) else second


def _record_anew(f: Callable, inputs: Any) -> tuple[tuple[Tensor, ...], Tensor]:
    """Fresh inputs, and the result of `f` for them; recorded even under no_grad."""
    with recording(True):
        xs = fresh_inputs(inputs)
        out = f(*xs)
    if not isinstance(out, Tensor):
        raise TypeError(f"the function must return one tensor, but it returned {type(out).__name__}")
    return xs, out


def fresh_inputs(inputs: Any) -> tuple[Tensor, ...]:
    """For each input a new tensor with the same values, which requires a gradient.

    An input that is given twice becomes two independent variables. If an input requires a gradient, the new tensor is
    connected to it, so that gradients can go on to whatever the input was computed from.
    """
    xs = map(as_tensor, _as_tuple(inputs))
    return tuple(identity(x) if x.requires_grad else Tensor(x.data, requires_grad=True) for x in xs)


# --- for rules --------------------------------------------------------------------------------------------------------


def differentiate(f: Callable, inputs: Sequence[Tensor], g: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients of `inputs` for a call `f(*inputs)` that was not recorded; `g` is the gradient of its result.

    The call is recorded now and differentiated. With create_graph, the gradients stay connected to `inputs` and `g`.
    """
    create_graph = mode.recording  # the backward pass that runs this rule has set it
    with recording(True):
        copies = [identity(x) for x in inputs]
        out = f(*copies)
    needed = [x for x in copies if x.requires_grad]
    gradients = iter(_gradients([(out, g)], needed, retain_graph=create_graph, create_graph=create_graph))
    return tuple(next(gradients) if x.requires_grad else None for x in copies)
