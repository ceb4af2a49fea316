"""Examples for the primitives: for each its arguments, over its domain, away from its kinks and poles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigrad import ops
from minigrad.gradcheck.choices import Choices, Example, call


def _two(c: Choices) -> Example:
    return call(*map(c.array, c.shapes(2)))


def _div(c: Choices) -> Example:
    x, y = c.shapes(2)
    return call(c.array(x), c.nonzero(y))


def _pow(c: Choices) -> Example:
    if c.flag():
        return call(c.nonzero(), y=c.pick((2, 3, -1, 1, 0, 4)))  # whole powers take any base but 0
    x, y = c.shapes(2)
    return call(c.array(x, 0.3, 2.0), c.array(y))


def _apart(c: Choices) -> Example:
    """Two operands of which no element equals one of the other."""
    x, y = c.shapes(2)
    return call(c.distinct(x), c.distinct(y, offset=0.1))


def _where(c: Choices) -> Example:
    condition, x, y = c.shapes(3)
    return call(c.array(x), c.array(y), condition=c.array(condition) > 0)


def _clip(c: Choices) -> Example:
    low, high = c.pick(((-0.6, 0.6), (None, 0.1), (-0.3, None)))
    return call(c.distinct(), min=low, max=high)


def _reduction(c: Choices, least: int = 0) -> Example:
    x = c.array(c.shape(least=least))
    return call(x, **c.reduction(x.ndim))


def _extremum(c: Choices) -> Example:
    x = c.distinct(c.shape(least=1))
    return call(x, **c.reduction(x.ndim))


def _prod(c: Choices) -> Example:
    x = c.array()
    if x.size and c.flag():
        x.flat[c.integer(0, x.size - 1)] = 0.0  # the product of the others is still its derivative
    return call(x, **c.reduction(x.ndim))


def _spread(c: Choices) -> Example:
    """For var and std: enough different numbers along the axes, and one lost degree of freedom or none."""
    x = c.distinct(c.shape(1, 3, least=3))
    return call(x, ddof=c.integer(0, 1), axis=c.pick((None, c.axis(x.ndim), tuple(range(x.ndim)))), keepdims=c.flag())


def _along_axis(c: Choices) -> Example:
    x = c.array(c.shape(1, 3, least=1))
    return call(x, axis=c.axis(x.ndim))


def _cumsum(c: Choices) -> Example:
    x = c.array()
    return call(x, axis=c.pick((None, c.axis(x.ndim))) if x.ndim else None)


def _reshape(c: Choices) -> Example:
    x = c.array()
    first = c.pick((1, *x.shape))
    return call(x, shape=(first, -1) if first and x.size and c.flag() else (x.size, 1, 1))


def _transpose(c: Choices) -> Example:
    x = c.array()
    return call(x, axes=None if c.flag() else tuple(int(k) for k in c.generator().permutation(x.ndim)))


def _swapaxes(c: Choices) -> Example:
    x = c.array(c.shape(1))
    return call(x, axis1=c.axis(x.ndim), axis2=c.axis(x.ndim))


def _expand_dims(c: Choices) -> Example:
    x = c.array()
    return call(x, axis=c.pick((c.axis(x.ndim + 1), (0, x.ndim + 1), (-1,))))


def _squeeze(c: Choices) -> Example:
    shape = c.shape(0, 2)
    k = c.integer(0, len(shape))
    return call(c.array((*shape[:k], 1, *shape[k:])), axis=c.pick((None, k, (k,), k - len(shape) - 1)))


def _broadcast_to(c: Choices) -> Example:
    shape = c.shape()
    return call(c.array(c.broadcastable(shape)), shape=shape)


def _concatenate(c: Choices) -> Example:
    shape = c.shape(1)
    axis = c.axis(len(shape))

    def part() -> np.ndarray:
        lengths = list(shape)
        lengths[axis] = c.pick((2, 1, 3, 0))
        return c.array(tuple(lengths))

    return call(*[part() for _ in range(c.integer(1, 3))], axis=axis)


def _stack(c: Choices) -> Example:
    shape = c.shape()
    return call(*[c.array(shape) for _ in range(c.integer(1, 3))], axis=c.axis(len(shape) + 1))


def _split(c: Choices) -> Example:
    shape = c.shape(1)
    axis = c.axis(len(shape))
    n = shape[axis]
    return call(c.array(shape), indices_or_sections=c.pick((1, n or 1, (n // 2,), (0, 1), (1, n))), axis=axis)


def _pad(c: Choices) -> Example:
    x = c.array()
    widths = tuple((c.integer(0, 2), c.integer(0, 2)) for _ in range(x.ndim))
    return call(x, pad_width=c.pick((widths, 1)) if x.ndim else 1, constant_values=c.pick((0.0, 1.5)))


def _flip(c: Choices) -> Example:
    x = c.array()
    return call(x, axis=c.axes(x.ndim))


def _roll(c: Choices) -> Example:
    x = c.array()
    if x.ndim > 1 and c.flag():
        return call(x, shift=(c.integer(-4, 4), 1), axis=(0, -1))
    return call(x, shift=c.integer(-4, 4), axis=c.pick((None, c.axis(x.ndim))) if x.ndim else None)


def _triangle(c: Choices) -> Example:
    return call(c.array(c.shape(2)), k=c.integer(-2, 2))


def _getitem(c: Choices) -> Example:
    """Basic and advanced indices, of every sort that NumPy knows; rows may be named twice."""
    x = c.array(c.shape(2, 3, least=2))
    n, m = x.shape[:2]
    rows, columns = c.indices((3,), n), c.indices((3,), m)
    some_rows, some_columns, every = c.generator().random(n) < 0.5, c.generator().random(m) < 0.5, slice(None)
    return call(
        x,
        index=c.pick(
            (
                0,
                -1,
                slice(1, None),
                slice(None, None, -1),
                slice(0, 0),
                ...,
                None,
                (every, 1),
                (None, slice(0, 2), None, 0),
                (..., slice(None, None, 2)),
                rows,
                rows.tolist(),
                (rows, columns),
                (rows[:, None], columns),
                (every, columns),
                (0, columns),
                (rows, slice(0, 1)),
                (rows, None, columns),
                x > 0,
                some_rows,
                (every, some_columns),
                (rows[0], some_columns),
                np.empty((0,), np.int64),
            )
        ),
    )


def _scatter(c: Choices) -> Example:
    x = _getitem(c)
    index, shape = x.options["index"], x.inputs[0].shape
    return call(c.array(np.zeros(shape)[index].shape), index=index, shape=shape)


def _take(c: Choices) -> Example:
    shape = c.shape(1, least=1)
    axis = c.pick((None, c.axis(len(shape))))
    size = int(np.prod(shape)) if axis is None else shape[axis]
    return call(c.array(shape), indices=c.indices(c.pick(((4,), (2, 3), (), (0,))), size), axis=axis)


def _take_along_axis(c: Choices) -> Example:
    shape = c.shape(1, least=1)
    axis = c.axis(len(shape))
    lengths = list(shape)
    lengths[axis] = c.integer(0, 4)
    return call(c.array(shape), indices=c.indices(tuple(lengths), shape[axis]), axis=axis)


def _matmul(c: Choices) -> Example:
    """Vectors, matrices, batches, and batches that broadcast."""
    n, k, m = (c.pick((2, 3, 1, 4, 0)) for _ in range(3))
    left, right = c.shapes(2)
    return call(
        *map(
            c.array,
            c.pick(
                (
                    ((k,), (k,)),
                    ((n, k), (k,)),
                    ((k,), (k, m)),
                    ((n, k), (k, m)),
                    ((*left[:2], n, k), (k, m)),
                    ((*left, n, k), (k,)),
                    ((k,), (*right, k, m)),
                    ((*left, n, k), (*right, k, m)),
                )
            ),
        )
    )


# fmt: off
EINSUMS = (("ij,jk->ik", "ab bc"), ("ij,jk", "ab bc"), ("bij,bjk->bik", "dab dbc"), ("i,j->ij", "a b"), ("ij->ji", "ab"), ("ij->", "ab"),
           ("ij,ij->i", "ab ab"), ("ijk,kl,lm->im", "abc cd db"), ("...ij,...j->...i", "dab db"),
           ("i,i", "a a"), ("...ij,jk->...ik", "dab bc"), ("ij,k->ki", "ab c"))
# fmt: on


def _einsum(c: Choices) -> Example:
    subscripts, shapes = c.pick(EINSUMS)
    size = {letter: c.pick((2, 3, 1, 4)) for letter in "abcd"}
    return call(*[c.array(tuple(size[letter] for letter in shape)) for shape in shapes.split()], subscripts=subscripts)


# name: (the function as it is called here, differentiated inputs first and the rest by name; how an example is made)
PRIMITIVES: dict[str, tuple[Callable, Callable[[Choices], Example]]] = {
    "add": (ops.add, _two),
    "sub": (ops.sub, _two),
    "mul": (ops.mul, _two),
    "div": (ops.div, _div),
    "pow": (ops.pow, _pow),
    "neg": (ops.neg, lambda c: call(c.array())),
    "abs": (ops.abs, lambda c: call(c.nonzero())),
    "exp": (ops.exp, lambda c: call(c.array())),
    "expm1": (ops.expm1, lambda c: call(c.array())),
    "log": (ops.log, lambda c: call(c.array(low=0.3))),
    "log1p": (ops.log1p, lambda c: call(c.array(low=-0.7))),
    "sqrt": (ops.sqrt, lambda c: call(c.array(low=0.3))),
    "rsqrt": (ops.rsqrt, lambda c: call(c.array(low=0.3))),
    "sin": (ops.sin, lambda c: call(c.array())),
    "cos": (ops.cos, lambda c: call(c.array())),
    "tanh": (ops.tanh, lambda c: call(c.array())),
    "sigmoid": (ops.sigmoid, lambda c: call(c.array())),
    "erf": (ops.erf, lambda c: call(c.array())),
    "relu": (ops.relu, lambda c: call(c.nonzero())),
    "maximum": (ops.maximum, _apart),
    "minimum": (ops.minimum, _apart),
    "where": (lambda x, y, condition: ops.where(condition, x, y), _where),
    "clip": (ops.clip, _clip),
    "astype": (ops.astype, lambda c: call(c.array(), dtype=np.float64)),
    "sum": (ops.sum, _reduction),
    "mean": (ops.mean, lambda c: _reduction(c, least=1)),
    "max": (ops.max, _extremum),
    "min": (ops.min, _extremum),
    "prod": (ops.prod, _prod),
    "var": (ops.var, _spread),
    "std": (ops.std, _spread),
    "logsumexp": (ops.logsumexp, lambda c: _reduction(c, least=1)),
    "softmax": (ops.softmax, _along_axis),
    "log_softmax": (ops.log_softmax, _along_axis),
    "cumsum": (ops.cumsum, _cumsum),
    "reshape": (ops.reshape, _reshape),
    "transpose": (ops.transpose, _transpose),
    "swapaxes": (ops.swapaxes, _swapaxes),
    "expand_dims": (ops.expand_dims, _expand_dims),
    "squeeze": (ops.squeeze, _squeeze),
    "broadcast_to": (ops.broadcast_to, _broadcast_to),
    "concatenate": (lambda *xs, axis: ops.concatenate(xs, axis=axis), _concatenate),
    "stack": (lambda *xs, axis: ops.stack(xs, axis=axis), _stack),
    "split": (ops.split, _split),
    "pad": (ops.pad, _pad),
    "flip": (ops.flip, _flip),
    "roll": (ops.roll, _roll),
    "tril": (ops.tril, _triangle),
    "triu": (ops.triu, _triangle),
    "getitem": (ops.getitem, _getitem),
    "scatter": (ops.scatter, _scatter),
    "take": (ops.take, _take),
    "take_along_axis": (ops.take_along_axis, _take_along_axis),
    "matmul": (ops.matmul, _matmul),
    "einsum": (lambda *xs, subscripts: ops.einsum(subscripts, *xs), _einsum),
}
