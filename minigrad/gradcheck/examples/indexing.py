"""Examples for indexing: of basic and advanced indices, and of arrays of positions along an axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigrad import ops
from minigrad.gradcheck.choices import Choices, Example, call


def _getitem(c: Choices) -> Example:
    """Every kind of index that NumPy knows. A row may be taken twice."""
    x = c.array(c.shape(2, min_length=2))
    n, m = x.shape[:2]
    rows, columns = c.indices((3,), n), c.indices((3,), m)
    row_mask, column_mask = c.generator().random(n) < 0.5, c.generator().random(m) < 0.5
    every = slice(None)
    basic = [0, -1, ..., None, slice(1, None), slice(None, None, -1), slice(0, 0)]
    basic += [(every, 1), (None, slice(0, 2), None, 0), (..., slice(None, None, 2))]
    integer_arrays = [rows, rows.tolist(), (rows, columns), (rows[:, None], columns), np.empty((0,), np.int64)]
    mixed = [(every, columns), (0, columns), (rows, slice(0, 1)), (rows, None, columns)]
    masks = [x > 0, row_mask, (every, column_mask), (rows[0], column_mask)]
    return call(x, index=c.pick([*basic, *integer_arrays, *mixed, *masks]))


def _scatter(c: Choices) -> Example:
    """What `_getitem` takes out of an array, put into one of its shape."""
    x = _getitem(c)
    index, shape = x.options["index"], x.inputs[0].shape
    return call(c.array(np.zeros(shape)[index].shape), index=index, shape=shape)


def _take(c: Choices) -> Example:
    shape = c.shape(1, min_length=1)
    axis = c.pick((None, c.axis(len(shape))))
    length = int(np.prod(shape)) if axis is None else shape[axis]
    return call(c.array(shape), indices=c.indices(c.pick(((4,), (2, 3), (), (0,))), length), axis=axis)


def _take_along_axis(c: Choices) -> Example:
    shape = c.shape(1, min_length=1)
    axis = c.pick((None, c.axis(len(shape))))
    lengths = [int(np.prod(shape))] if axis is None else list(shape)
    length, lengths[axis or 0] = lengths[axis or 0], c.integer(0, 4)
    return call(c.array(shape), indices=c.indices(tuple(lengths), length), axis=axis)


INDEXING: dict[str, tuple[Callable, Callable[[Choices], Example]]] = {
    "getitem": (ops.getitem, _getitem),
    "scatter": (ops.scatter, _scatter),
    "take": (ops.take, _take),
    "take_along_axis": (ops.take_along_axis, _take_along_axis),
}
