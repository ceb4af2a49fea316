"""The backward pass: it carries gradients from a result back to the leaves.

Reverse-mode differentiation (Griewank and Walther, Evaluating Derivatives, 2008, chapter 3). A waiting list holds the
nodes for which a gradient has arrived. In a loop, the pass takes the newest of these nodes and calls its rule, which
returns a gradient for each parent; that is added to what the parent has already. When a node is taken, its gradient is
complete: all operations that used its result are newer, so the pass has visited them before. There is no recursion, so
a chain of 100,000 operations is no problem.

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
from minigrad.sums import sum_array
from minigrad.tensor import Tensor, as_tensor, gradient_edge


def backward(self: Tensor, grad: Any = None, *, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Differentiate this tensor with respect to every leaf that requires a gradient, and add the result to its `.grad`.

    `grad`: the gradient of the loss with respect to this tensor, an array of the same shape. If the tensor is a single
    number, `grad` may be left out: then the tensor is the loss itself. The graph is freed on the way unless
    `retain_graph`; with `create_graph` the gradients can themselves be differentiated (and the graph is kept).
    """
    if not self.requires_grad:
        raise RuntimeError(
            "backward() on a tensor that does not require a gradient: none of its inputs has requires_grad=True, "
            "or it was made under no_grad()"
        )
    started: set[Tensor] = set()  # leaves whose .grad this pass has created: nothing else refers to that array

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
    # It is not broadcast: a gradient of another shape is more likely a mistake.
    g = as_tensor(grad)
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
    Tensor with `create_graph`. Nodes with a number below `since` count as leaves: the pass stops at them.
    `on_node(node, gradient)` is called with the complete gradient of every node that is visited.
    """
    gradients: dict[Node, Gradient] = {}  # what has arrived so far at the nodes that wait to be visited
    # Nodes whose array in `gradients` was allocated by this pass. Only such an array may be added to in place.
    owned: set[Node] = set()
    waiting: list[tuple[int, Node]] = []  # a heap with the newest node in front
    node: Node | None = None  # the node that is being visited

    def add(parent: Node | Tensor, g: Gradient) -> None:
        # `type(g) is not ...` instead of isinstance, for speed: nearly always `g` is an array that fits its parent.
        if type(g) is not ndarray and type(g) is not LazyGradient and not (create_graph and isinstance(g, Tensor)):
            g = _to_array(g, node)
        if g.shape != parent.shape or type(g) is not LazyGradient and g.dtype != parent.dtype:
            g = _fit_to_parent(g, parent, node)
        if create_graph:
            g = as_tensor(materialize(g))
        if type(parent) is not Node or parent.number < since:
            on_leaf(parent, g)
        elif parent in owned:  # the sum is an array of this pass: mostly from the third gradient on
            accumulate_into(g, gradients[parent])
        elif parent in gradients:  # the second gradient
            # The first array may be shared: the rule of add, for instance, passes the same array to both inputs. So the
            # first sum is a new array, and the following ones are added to it in place.
            gradients[parent] = ensure_array(gradients[parent] + materialize(g))
            if not create_graph:
                owned.add(parent)
        else:  # the first gradient
            heappush(waiting, (-parent.number, parent))  # a heap has its smallest number in front: hence the minus
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
            # The rule gets the result as an array, or with create_graph as a Tensor.
            out = _output_tensor(node) if create_graph and node.output is not None else node.output
            parent_gradients = node.vjp(g, out)
            # One gradient for each input. (zip(strict=True) below would check it too, and take three times as long.)
            if not isinstance(parent_gradients, (tuple, list)) or len(parent_gradients) != len(node.parents):
                raise _wrong_number(node, parent_gradients)
            for parent, g in zip(node.parents, parent_gradients):
                if g is not None and type(parent) is not tuple:
                    add(parent, g)
            # Not kept while the next rule runs: a LazyGradient holds arrays, those of checkpoint() all of its function.
            del parent_gradients, g
            if not (retain_graph or create_graph):
                node.free()  # at once, not at the end: the memory is needed for the gradients that follow


def _output_tensor(node: Node) -> Tensor:
    """The saved result of a node as a Tensor again, so that the rule can be differentiated with respect to it."""
    # The node saved only the array (graph.py). This Tensor has the same node, so gradients continue into the graph.
    out = object.__new__(Tensor)
    out.data, out.grad, out.node, out.requires_grad = node.output, None, node, True
    return out


def _to_array(g: Gradient, node: Node | None) -> Gradient:
    """A gradient that a rule returned, as an array or LazyGradient: its forms without `create_graph`."""
    if isinstance(g, Tensor):
        return g.data
    if not hasattr(g, "shape"):
        raise TypeError(f"{_source(node)} returned a {type(g).__name__}, but a gradient is an array, a Tensor or None")
    return ensure_array(g)


def _fit_to_parent(g: Gradient, parent: Node | Tensor, node: Node | None) -> Gradient:
    """`g` with the shape and dtype of its parent: here broadcasting and dtype promotion are undone, for all rules."""
    if g.shape != parent.shape:
        axes = None if type(g) is LazyGradient else _repeated_axes(g.shape, parent.shape)
        # A rule with a mistake can return a gradient of a wrong shape that can still be summed to the shape of the
        # parent, and the mistake would be hidden. So the sum is taken only where the operation can have broadcast.
        # Usually `g` has the shape of the result, to which all inputs were broadcast. Only another shape needs a test.
        if axes is None or node is None or g.shape != node.shape and not _can_be_broadcast(node, parent, g.shape, axes):
            raise ValueError(
                f"{_source(node)} returned a gradient of shape {g.shape} for an input of shape {parent.shape}; "
                f"it must have the shape of the input, or the shape to which the operation broadcast the input"
            )
        g = _sum_along(g, axes, parent.shape)
    return g if g.dtype == parent.dtype else g.astype(parent.dtype)


def _can_be_broadcast(node: Node, parent: Node | Tensor, shape: tuple[int, ...], axes: Sequence[int]) -> bool:
    """Whether it is possible that the operation broadcast this input to `shape`, repeating it along `axes`."""
    # An operation that sums after broadcasting, such as einsum, has a smaller result. But an input is broadcast because
    # another one is larger. So the lengths of `shape` along `axes` also occur in another input.
    others = [other for other in node.parents if other is not parent]
    shapes = [other if isinstance(other, tuple) else other.shape for other in others]
    is_known = all(any(shape[axis] in s for s in shapes) for axis in axes)
    return is_known and len(shape) <= max(map(len, [parent.shape, *shapes]))


def _sum_along(g: Gradient, axes: Sequence[int], shape: tuple[int, ...]) -> Gradient:
    """`g` summed along the repeated axes, in the shape from which it was broadcast.

    Broadcasting repeats elements. Each repetition has a gradient, and the gradient of the element is their sum.
    """
    if not shape:
        return ensure_array(g.sum())  # without axes, NumPy's sum is twice as fast
    if isinstance(g, Tensor):
        total = g.sum(tuple(axes), keepdims=True)
    else:
        total = sum_array(g, tuple(axes), keepdims=True)
    return total if total.shape == shape else total.reshape(shape)


def _repeated_axes(shape: tuple[int, ...], before: tuple[int, ...]) -> list[int] | None:
    """The axes of `shape` along which an array of shape `before` was repeated; None if broadcasting cannot do that."""
    # As in NumPy, shapes are aligned at their last axes: before (3, 1), shape (2, 3, 4) -> axes 0 and 2.
    new = len(shape) - len(before)
    if new < 0:
        return None
    axes = list(range(new))  # broadcasting adds axes in front
    for axis, n in enumerate(before, new):
        if n != shape[axis]:
            if n != 1:
                return None
            axes.append(axis)
    return axes


def _wrong_number(node: Node, returned: Any) -> Exception:
    """The error for a rule that returned something else than a tuple with one gradient for each input."""
    if isinstance(returned, (tuple, list)):
        return ValueError(f"{_source(node)} returned {len(returned)} gradients for {len(node.parents)} inputs")
    return TypeError(
        f"{_source(node)} returned {type(returned).__name__}; it must return a tuple with one gradient for each input, "
        f"None where none is needed"
    )


def _source(node: Node | None) -> str:
    """Where a gradient comes from, for error messages."""
    return "the caller" if node is None else f"the gradient rule of {node.op!r}"
