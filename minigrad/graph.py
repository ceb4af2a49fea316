"""The graph: which operation made a result, from which inputs, and how a gradient gets back to them.

Each operation on tensors that require a gradient leaves one `Node`. For

    a = Tensor([1.0, 2.0], requires_grad=True)
    b = Tensor([3.0, 4.0], requires_grad=True)
    c = (a * b).sum()

the graph is

    leaf a ---+
              |
              v
            node 1: mul ------> node 2: sum     (c.node)
              ^
              |
    leaf b ---+

    node 1     parents [a, b]       rule: gradient g of a * b  ->  (g * b, g * a)
    node 2     parents [node 1]     rule: gradient g of c      ->  (g, repeated to the shape of a * b)

The arrows show how values were computed. `backward()` goes the other way, from node 2 to node 1 to the leaves
(backward.py). A node is newer than its parents, because they existed before it was made. So visiting nodes from the
highest number to the lowest visits each one before its parents: no sorting is needed.

A rule is called a vjp, a vector-Jacobian product. For y = f(x), with the Jacobian matrix J = dy/dx and the gradient g
of the loss with respect to y, the gradient of the loss with respect to x is the product g J. The rule computes that
product without ever making J.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from minigrad.backend import Array
from minigrad.lazy import Gradient

Rule = Callable[[Gradient, Any], Sequence[Gradient]]  # vjp(g, out): gradient of the result -> a gradient for each input

# next() of a count cannot be interrupted by another thread, so no two nodes get the same number.
_numbers = count(1)


class Node:
    """One recorded operation: its number, its parents, and its gradient rule.

    A parent is the node that made an input, or the input itself if it is a leaf. Of an input that needs no gradient,
    only the shape is there, a tuple: the backward pass checks with it to which shapes the others can be broadcast.
    """

    __slots__ = ("number", "parents", "vjp", "output", "shape", "dtype")

    def __init__(self, inputs: Sequence, vjp: Rule, data: Array, keep_output: bool):
        self.number = next(_numbers)
        # `gradient_edge` in tensor.py, written out here for speed: every operation makes a node. A number has no shape.
        self.parents = [x.node or (x if x.requires_grad else getattr(x.data, "shape", ())) for x in inputs]
        self.vjp = vjp
        # A few rules, such as that of exp, need the result of the operation. For all others it is not kept in memory.
        # The array is saved, not the Tensor: a Tensor refers to its node, so node -> Tensor would be a reference cycle,
        # and its memory would be freed only when the garbage collector runs.
        self.output = data if keep_output else None
        self.shape, self.dtype = data.shape, data.dtype  # of the result, and so of its gradient

    @property
    def op(self) -> str:
        """The name of the function that made this node, such as "exp"."""
        return op_name(self.vjp)

    def __repr__(self) -> str:
        return f"Node({self.number}, {self.op}, shape={self.shape}, dtype={self.dtype})"

    def free(self) -> None:
        """Drop everything that was saved for the backward pass."""
        # A rule is a closure: it keeps the arrays alive that it uses. `_freed`, in its place, raises an error when
        # backward() comes here a second time.
        self.parents, self.vjp, self.output = [], _freed, None


def leaf_uses(output: Any) -> dict[Any, list[int]]:
    """The leaves that the graph of `output` ends in, each with the numbers of the nodes that use it."""
    uses: dict[Any, list[int]] = {}
    waiting, seen = [output.node or output], set()
    while waiting:
        node = waiting.pop()
        if type(node) is not Node or node in seen:
            continue
        seen.add(node)
        for parent in node.parents:
            if type(parent) is Node:
                waiting.append(parent)
            elif type(parent) is not tuple:
                uses.setdefault(parent, []).append(node.number)
    return uses


def op_name(vjp: Rule) -> str:
    """The name of the function in which a rule was written."""
    # The qualified name says where the rule was defined: "exp.<locals>.<lambda>" in exp, so the op is "exp";
    # "Tensor.to.<locals>.<lambda>" in a method, so the op is "to". A rule outside of any function has its own name.
    *functions, rule = vjp.__qualname__.split(".<locals>.")
    innermost = functions[-1] if functions else rule
    return innermost.split(".")[-1]  # without the class


def timestamp() -> int:
    """A number greater than those of all nodes so far, and less than those of all later ones."""
    return next(_numbers)


def _freed(g: Gradient, out: Any) -> Sequence[Gradient]:
    raise RuntimeError("backward() a second time through a graph that was freed; pass retain_graph=True the first time")
