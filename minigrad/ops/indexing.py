"""Reading elements by index, and adding elements up at an index. Each is the gradient of the other.

    y = x[index]                    y[i] = x[index[i]]
    dx[index] += dy                 an element that was read twice gets the sum of both gradients

`getitem` is the first, `scatter` the second. `take` and `take_along_axis` are `getitem` with an index made for them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minigrad.backend import Array, array_module, as_array, is_float
from minigrad.lazy import Gradient, LazyGradient
from minigrad.ops.arguments import as_axis, as_ints
from minigrad.ops.shape import reshape
from minigrad.sums import add_rows
from minigrad.tensor import Tensor, as_tensor, record

__all__ = ["getitem", "scatter", "take", "take_along_axis"]


FEW = 1024  # `add_rows` takes some steps in Python, which are worth it from this many numbers on


def getitem(x: Any, index: Any) -> Tensor:
    """`x[index]`, as in NumPy.

    `index`: a slice, integer, None, Ellipsis, boolean mask, array or Tensor of integers, or a tuple of these. A basic
    index (without arrays) gives a view. An index outside of `x` raises IndexError on the CPU; on a GPU it wraps around
    silently.
    """
    x = as_tensor(x)
    index, shape = _convert_index(index, x.data), x.shape

    def vjp(g: Gradient, out: None) -> tuple[Gradient]:
        if isinstance(g, Tensor):
            return (scatter(g, index, shape),)
        # The gradient is zero except at `index`. It is lazy, so that n slices of one array add to one array of its
        # size, instead of making n arrays that are mostly zeros.
        return (LazyGradient(g, add=lambda total: _add_at(total, index, g), shape=shape),)

    return record(x.data[index], (x,), vjp)


def scatter(x: Any, index: Any, shape: int | tuple[int, ...]) -> Tensor:
    """Zeros of this shape, with the elements of `x` added at `index`; those that go to the same position add up."""
    x, shape = as_tensor(x), as_ints(shape, "shape")
    index = _convert_index(index, x.data)
    data = array_module(x.data).zeros(shape, x.dtype)
    _add_at(data, index, x.data)
    # Each element of `x` was added to one position, and its gradient is the one at that position.
    return record(data, (x,), lambda g, out: (g[index],))


def _add_at(total: Array, index: Any, values: Array) -> None:
    """total[index] += values, where positions that occur several times in `index` get all their values."""
    if type(index) is tuple and len(index) == 1:
        (index,) = index
    if type(index) is slice or _is_basic_index(index):
        total[index] += values  # a basic index names no position twice
    elif _is_row_index(total, index, values):  # the most frequent case of the others, x[ids]
        numbers, width = index.reshape(-1).astype(np.intp) % len(total), math.prod(total.shape[1:])  # -1: the last row
        add_rows(total.reshape(-1, width), numbers, values.reshape(-1, width))
    else:
        array_module(total).add.at(total, index, values)  # `+=` would add only one value to each position


def _is_row_index(total: Array, index: Any, values: Array) -> bool:
    """Whether `index` is an array of the numbers of rows, and `add_rows` can add `values` to them."""
    if not isinstance(index, np.ndarray) or index.dtype.kind not in "iu" or values.size < FEW and values.itemsize >= 4:
        return False  # for a few numbers, add.at is faster and exact enough
    are_plain = is_float(total.dtype) and total.dtype == values.dtype and total.size and total.flags.c_contiguous
    return bool(are_plain and values.shape == index.shape + total.shape[1:])


def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The elements at `indices` (integers of any shape) along `axis`. With axis None, `x` is flattened first."""
    x, axis = as_tensor(x), as_axis(axis)
    x, axis = (reshape(x, -1), 0) if axis is None else (x, normalize_axis_index(axis, x.ndim))
    return getitem(x, (*(slice(None),) * axis, _integer_array(indices, "take")))  # x[:, ..., :, indices]


def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Tensor:
    """Elements of `x` whose coordinate along `axis` is given by `indices`. With axis None, `x` is flattened first.

    For two axes and axis=1: result[i, j] = x[i, indices[i, j]]. Raises ValueError if `indices` and `x` differ in the
    number of axes.
    """
    x, indices, axis = as_tensor(x), _integer_array(indices, "take_along_axis"), as_axis(axis)
    x, axis = (reshape(x, -1), 0) if axis is None else (x, normalize_axis_index(axis, x.ndim))
    if indices.ndim != x.ndim:
        raise ValueError(
            f"take_along_axis: the indices need as many axes as the tensor, got shapes {indices.shape} and {x.shape}"
        )
    # The coordinates along the other axes are 0, 1, 2, ..., as arrays that broadcast against `indices`. For x of shape
    # (2, 3, 4), those of axis 0 have the shape (2, 1, 1), those of axis 1 the shape (3, 1), those of axis 2 (4,).
    grid = [array_module(x.data).arange(n).reshape((-1,) + (1,) * (x.ndim - 1 - a)) for a, n in enumerate(x.shape)]
    return getitem(x, (*grid[:axis], indices, *grid[axis + 1 :]))


def _integer_array(indices: Any, name: str) -> Array:
    """The indices as an array. Raises TypeError unless they are integers; `name` is that of the operation."""
    indices = indices.data if isinstance(indices, Tensor) else indices
    if not hasattr(indices, "dtype"):
        indices = np.asarray(indices)
        if not indices.size:  # NumPy makes an array of floats of an empty list
            indices = indices.astype(np.intp)
    if indices.dtype.kind not in "iu":  # booleans too: they would be taken as the indices 0 and 1
        raise TypeError(f"{name} takes whole numbers as indices, not {indices.dtype}; a mask can be used as x[mask]")
    return indices


def _convert_index(index: Any, like: Array) -> Any:
    """The index with arrays in place of Tensors. On a GPU, also with CuPy arrays in place of lists and NumPy arrays.

    `like`: the array that is indexed.
    """
    if type(index) is slice or type(index) is int:  # the most frequent cases first
        return index
    if isinstance(index, tuple):
        return tuple([_convert_index(item, like) for item in index])
    if isinstance(index, Tensor):
        return index.data
    if isinstance(index, (list, np.ndarray)) and array_module(like) is not np:
        dtype = None if len(index) else np.intp  # an empty list would become an array of floats
        return array_module(like).asarray(index, dtype=dtype)
    return as_array(index) if isinstance(index, np.ndarray) else index  # refuses a masked array


def _is_basic_index(index: Any) -> bool:
    """Whether the index has no arrays in it: only slices, integers, None and `...` (NumPy's "basic indexing")."""
    items = index if isinstance(index, tuple) else (index,)
    return all(
        item is None or item is Ellipsis or type(item) in (int, slice) or isinstance(item, np.integer) for item in items
    )
