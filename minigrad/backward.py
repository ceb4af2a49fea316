"""The backward pass: gradients walk from a result back to the leaves.

Reverse-mode differentiation (Griewank and Walther, Evaluating Derivatives, 2008, chapter 3). A waiting list holds the nodes
whose gradient has begun to arrive. The newest of them is taken: everything that used its result is newer and was visited
before, so its gradient is complete. Its rule turns that gradient into one for each parent, and these are added to what the
parents have already. There is no recursion, so a chain of 100,000 operations is no problem.

`backward`, the method of Tensor, is attached in methods.py. Gradients are plain arrays, which cost least. With
`create_graph`, they are Tensors and the rules are recorded, so that gradients can be differentiated again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.backend import ensure_array
from minigrad.graph import Node
from minigrad.lazy import Gradient, LazyGradient, accumulate_into, materialize
from minigrad.modes import recording
from minigrad.tensor import Tensor, array_of, gradient_edge, tensor


def backward(self: Tensor, grad: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Add the gradient of this tensor to `.grad` of every leaf that requires it.

    `grad`: the gradient of this tensor, same shape; may be left out for a single number. The graph is freed on the way
    unless `retain_graph`; with `create_graph` the gradients can themselves be differentiated (and the graph is kept).
    """
    if not self.requires_grad:
        raise RuntimeError(
            "backward() on a tensor that does not require a gradient: none of its inputs has requires_grad=True, "
            "or it was made under no_grad()"
        )
    started: set[Tensor] = (
        set()
    )  # leaves whose .grad was created by this pass, so that nothing else refers to its array

    def on_leaf(leaf: Tensor, gradient: Gradient) -> None:
        leaf.accumulate(gradient, in_place=leaf in started)
        started.add(leaf)

    seeds = [(self, seed_gradient(self, grad))]
    backpropagate(seeds, on_leaf, retain_graph=retain_graph, create_graph=create_graph)


def seed_gradient(output: Tensor, grad: Any) -> Tensor:
    """The gradient that a backward pass starts with: `grad`, or 1 for a single number."""
    if grad is None:
        if output.size != 1:
            raise ValueError(
                f"backward() from a tensor of shape {output.shape} needs grad=, an array of that shape; "
                f"or reduce it to one number first, for example with .sum()"
            )
        return Tensor(np.ones_like(output.data))
    g = tensor(grad)
    if g.shape != output.shape:
        raise ValueError(f"grad has shape {g.shape}, but the tensor has shape {output.shape}; they must be equal")
    return g if g.dtype == output.dtype else g.astype(output.dtype)


def backpropagate(
    seeds: Sequence[tuple[Tensor, Gradient]],
    on_leaf: Callable[[Any, Gradient], None],
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
    since: int = 0,
    on_node: Callable[[Node, Gradient], None] | None = None,
) -> None:
    """Carry the gradients in `seeds`, pairs (tensor, gradient), back through the graph.

    `on_leaf(leaf, gradient)` is called for every contribution to a leaf's gradient: an array or LazyGradient, or a Tensor
    with `create_graph`. Nodes with a number below `since` count as leaves. `on_node(node, gradient)` is called with the
    complete gradient of every node that is visited.
    """
    gradients: dict[Node, Gradient] = {}  # what has arrived so far at the nodes that wait to be visited
    owned: set[Node] = set()  # nodes whose sum was allocated here: only that may be added to in place
    waiting: list[tuple[int, Node]] = []  # a heap with the newest node in front
    node: Node | None = None  # the node that is being visited

    def add(parent: Node | Tensor, g: Gradient) -> None:
        if create_graph or type(g) is not ndarray and type(g) is not LazyGradient:
            g = _as_gradient(g, node, create_graph)
        if type(g) is not LazyGradient and (g.shape != parent.shape or g.dtype != parent.dtype):
            g = _fit_to_parent(g, parent, node)
        if type(parent) is not Node or parent.number < since:
            on_leaf(parent, g)
        elif parent in owned:
            accumulate_into(g, gradients[parent])
        elif parent in gradients:
            # The first array may be shared: the rule of add, for instance, passes the same array to both inputs. So the
            # first sum is a new array, and the following ones are added to it in place.
            gradients[parent] = _as_gradient(gradients[parent] + materialize(g), node, create_graph)
            if not create_graph:
                owned.add(parent)
        else:
            heapq.heappush(waiting, (-parent.number, parent))
            if type(g) is LazyGradient:
                g = g.materialize()
                owned.add(parent)
            gradients[parent] = g

    with recording(create_graph):
        for output, g in seeds:
            if (edge := gradient_edge(output)) is not None:
                add(edge, g)
        while waiting:
            node = heapq.heappop(waiting)[1]
            g = gradients.pop(node)
            owned.discard(node)
            if on_node is not None:
                on_node(node, g)
            out = _output_tensor(node) if create_graph and node.output is not None else node.output
            parents, found = node.parents, node.vjp(g, out)
            if len(found) != len(parents):
                raise ValueError(f"{_rule(node)} returned {len(found)} gradients for {len(parents)} inputs")
            for parent, g in zip(parents, found):
                if parent is not None and g is not None:
                    add(parent, g)
            if not (retain_graph or create_graph):
                node.free()


def _output_tensor(node: Node) -> Tensor:
    """The saved result of a node as a Tensor again, so that its rule can be differentiated with respect to it."""
    out = object.__new__(Tensor)
    out.data, out.grad, out.node, out.requires_grad = node.output, None, node, True
    return out


def _as_gradient(g: Any, node: Node | None, create_graph: bool) -> Gradient:
    """What a rule returned, in the form in which gradients travel: a Tensor with `create_graph`, else an array or lazy."""
    if not hasattr(g, "shape"):
        raise TypeError(f"{_rule(node)} returned a {type(g).__name__}, but a gradient is an array, a Tensor or None")
    if create_graph:
        return g if isinstance(g, Tensor) else Tensor(materialize(g))
    return ensure_array(array_of(g))


def _fit_to_parent(g: Gradient, parent: Node | Tensor, node: Node | None) -> Gradient:
    """`g` with the shape and dtype of its parent: here broadcasting and dtype promotion are undone, for all rules."""
    if g.shape != parent.shape:
        axes = _repeated_axes(g.shape, parent.shape)
        # Broadcasting shows in the result: it has these axes, with the same lengths. Anything else is a mistake.
        result = () if node is None else node.shape
        if axes is None or g.ndim > len(result) or any(g.shape[axis] != result[axis] for axis in axes):
            raise ValueError(
                f"{_rule(node)} returned a gradient of shape {g.shape} for an input of shape {parent.shape}; "
                f"a gradient has the shape of its input, or that to which the input was broadcast"
            )
        g = _sum_along(g, axes, parent.shape)
    return g if g.dtype == parent.dtype else g.astype(parent.dtype)


def unbroadcast(g: Gradient, shape: tuple[int, ...]) -> Gradient:
    """The gradient of an array of this shape that was broadcast to the shape of `g`.

    Broadcasting repeats elements. Each repetition has a gradient, and the gradient of the element is their sum.
    """
    axes = _repeated_axes(g.shape, shape)
    if axes is None:
        raise ValueError(f"an array of shape {shape} cannot be broadcast to shape {g.shape}")
    return _sum_along(g, axes, shape) if g.shape != shape else g


def _sum_along(g: Gradient, axes: tuple[int, ...], shape: tuple[int, ...]) -> Gradient:
    total = ensure_array(g.sum(axes))
    return total if total.shape == shape else total.reshape(shape)


def _repeated_axes(shape: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes of `shape` along which an array of the shape `before` was repeated; None if broadcasting cannot do that."""
    before = (1,) * (len(shape) - len(before)) + before
    axes = tuple(axis for axis, (n, m) in enumerate(zip(before, shape)) if n != m)
    return axes if len(before) == len(shape) and all(before[axis] == 1 for axis in axes) else None


def _rule(node: Node | None) -> str:
    return "the caller" if node is None else f"the gradient rule of {node.op!r}"
