"""Examples for products of vectors, matrices and batches of matrices."""

from __future__ import annotations

from collections.abc import Callable

from minigrad import ops
from minigrad.gradcheck.choices import Choices, Example, call


def _matmul(c: Choices) -> Example:
    """Vectors, matrices, batches, and batches that broadcast."""
    n, k, m = (c.pick((2, 3, 1, 4, 0)) for _ in range(3))
    left, right = c.shapes(2)
    shapes = [((k,), (k,)), ((n, k), (k,)), ((k,), (k, m)), ((n, k), (k, m))]
    shapes += [((*left[:2], n, k), (k, m)), ((*left, n, k), (k,)), ((k,), (*right, k, m))]
    shapes += [((*left, n, k), (*right, k, m))]
    return call(*map(c.array, c.pick(shapes)))


# Subscripts, and the shapes of the arrays: equal letters are equal lengths.
# fmt: off
EINSUMS = (
    ("ij,jk->ik", "ab bc"), ("ij,jk", "ab bc"), ("bij,bjk->bik", "dab dbc"), ("i,j->ij", "a b"), ("i,i", "a a"),
    ("ij->ji", "ab"), ("ij->", "ab"), ("ij,ij->i", "ab ab"), ("ij,k->ki", "ab c"), ("ijk,kl,lm->im", "abc cd db"),
    ("...ij,...j->...i", "dab db"), ("...ij,jk->...ik", "dab bc"),
)
# fmt: on


def _einsum(c: Choices) -> Example:
    subscripts, shapes = c.pick(EINSUMS)
    length = {letter: c.pick((2, 3, 1, 4)) for letter in "abcd"}
    # Now and then a letter has length 1 in one array, which broadcasts it.
    lengths = [tuple(c.pick((length[letter],) * 3 + (1,)) for letter in shape) for shape in shapes.split()]
    return call(*map(c.array, lengths), subscripts=subscripts)


PRODUCTS: dict[str, tuple[Callable, Callable[[Choices], Example]]] = {
    "matmul": (ops.matmul, _matmul),
    "einsum": (lambda *xs, subscripts: ops.einsum(subscripts, *xs), _einsum),
}
