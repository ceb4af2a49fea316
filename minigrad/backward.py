"""The backward pass: gradients walk from a result back to the leaves.

Reverse-mode differentiation (Griewank and Walther, Evaluating Derivatives, 2008, chapter 3). A waiting list holds the
nodes whose gradient has begun to arrive. The newest of them is taken: everything that used its result is newer and was
visited before, so its gradient is complete. Its rule turns that gradient into one for each parent, and these are added
to what the parents have already. There is no recursion, so a chain of 100,000 operations is no problem.

`backward`, the method of Tensor, is attached in methods.py. Gradients are plain arrays, which cost least. With
`create_graph`, they are Tensors and the rules are recorded, so that gradients can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.backend import ensure_array
from minigrad.graph import Node
from minigrad.lazy import Gradient, LazyGradient, accumulate_into, materialize
from minigrad.modes import recording
from minigrad.tensor import Tensor, gradient_edge, tensor


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

    `on_leaf(leaf, gradient)` is called for every contribution to a leaf's gradient: an array or LazyGradient, or a
    Tensor with `create_graph`. Nodes with a number below `since` count as leaves. `on_node(node, gradient)` is called
    with the complete gradient of every node that is visited.
    """
    gradients: dict[Node, Gradient] = {}  # what has arrived so far at the nodes that wait to be visited
    owned: set[Node] = set()  # nodes whose sum was allocated here: only that may be added to in place
    waiting: list[tuple[int, Node]] = []  # a heap with the newest node in front
    node: Node | None = None  # the node that is being visited

    def add(parent: Node | Tensor, g: Gradient) -> None:
        if create_graph:
            g = _as_tensor(g, node)
        elif type(g) is not ndarray and type(g) is not LazyGradient:
            g = _as_array(g, node)
        if type(g) is not LazyGradient and (g.shape != parent.shape or g.dtype != parent.dtype):
            g = _fit_to_parent(g, parent, node)
        if type(parent) is not Node or parent.number < since:
            on_leaf(parent, g)
        elif parent in owned:
            accumulate_into(g, gradients[parent])
        elif parent in gradients:
            # The first array may be shared: the rule of add, for instance, passes the same array to both inputs. So the
            # first sum is a new array, and the following ones are added to it in place.
            gradients[parent] = ensure_array(gradients[parent] + materialize(g))
            if not create_graph:
                owned.add(parent)
        else:
            heappush(waiting, (-parent.number, parent))
            if type(g) is LazyGradient:
                g = g.materialize()
                owned.add(parent)
            gradients[parent] = g

    with recording(create_graph):
        for output, g in seeds:
            if (edge := gradient_edge(output)) is not None:
                add(edge, g)
        while waiting:
            node = heappop(waiting)[1]
            g = gradients.pop(node)
            owned.discard(node)
            if on_node is not None:
                on_node(node, g)
            out = _output_tensor(node) if create_graph and node.output is not None else node.output
            found = node.vjp(g, out)
            if len(found) != len(node.parents):  # zip(strict=True) would take three times as long
                raise ValueError(f"{_rule(node)} returned {len(found)} gradients for {len(node.parents)} inputs")
            for parent, g in zip(node.parents, found):
                if parent is not None and g is not None:
                    add(parent, g)
            if not (retain_graph or create_graph):
                node.free()


def _output_tensor(node: Node) -> Tensor:
    """The saved result of a node as a Tensor again, so that its rule can be differentiated with respect to it."""
    out = object.__new__(Tensor)
    out.data, out.grad, out.node, out.requires_grad = node.output, None, node, True
    return out


def _as_tensor(g: Gradient, node: Node | None) -> Tensor:
    """What a rule returned as a Tensor, the form of gradients with `create_graph`."""
    return g if isinstance(g, Tensor) else Tensor(_as_array(materialize(g), node))


def _as_array(g: Gradient, node: Node | None) -> Gradient:
    """What a rule returned as an array or LazyGradient, the forms of gradients without `create_graph`."""
    if isinstance(g, Tensor):
        return g.data
    if not hasattr(g, "shape"):
        raise TypeError(f"{_rule(node)} returned a {type(g).__name__}, but a gradient is an array, a Tensor or None")
    return ensure_array(g)


def _fit_to_parent(g: Gradient, parent: Node | Tensor, node: Node | None) -> Gradient:
    """`g` with the shape and dtype of its parent: here broadcasting and dtype promotion are undone, for all rules."""
    if g.shape != parent.shape:
        axes = _repeated_axes(g.shape, parent.shape)
        if axes is None or not _shows_in(() if node is None else node.shape, g.shape, axes):
            raise ValueError(
                f"{_rule(node)} returned a gradient of shape {g.shape} for an input of shape {parent.shape}; "
                f"a gradient has the shape of its input, or that to which the input was broadcast"
            )
        g = _sum_along(g, axes, parent.shape)
    return g if g.dtype == parent.dtype else g.astype(parent.dtype)


def _shows_in(result: tuple[int, ...], shape: tuple[int, ...], axes: Sequence[int]) -> bool:
    """Whether these axes of the shape may come from broadcasting: then the result of the operation has them too."""
    return shape == result or len(shape) <= len(result) and all(shape[axis] == result[axis] for axis in axes)


def unbroadcast(g: Gradient, shape: tuple[int, ...]) -> Gradient:
    """The gradient of an array of this shape that was broadcast to the shape of `g`.

    Broadcasting repeats elements. Each repetition has a gradient, and the gradient of the element is their sum.
    """
    axes = _repeated_axes(g.shape, shape)
    if axes is None:
        raise ValueError(f"an array of shape {shape} cannot be broadcast to shape {g.shape}")
    return _sum_along(g, axes, shape) if axes or g.shape != shape else g


def _sum_along(g: Gradient, axes: Sequence[int], shape: tuple[int, ...]) -> Gradient:
    if not shape:
        return ensure_array(g.sum())  # without axes, NumPy's sum is twice as fast
    total = g.sum(tuple(axes), keepdims=True)
    return total if total.shape == shape else total.reshape(shape)


def _repeated_axes(shape: tuple[int, ...], before: tuple[int, ...]) -> list[int] | None:
    """The axes of `shape` along which an array of the shape `before` was repeated; None if broadcasting cannot do
    that.
    """
    new = len(shape) - len(before)
    axes = list(range(new))  # broadcasting adds axes in front
    for axis, n in enumerate(before, new):
        if n != shape[axis]:
            if n != 1:
                return None
            axes.append(axis)
    return axes if new >= 0 else None


def _rule(node: Node | None) -> str:
    return "the caller" if node is None else f"the gradient rule of {node.op!r}"
