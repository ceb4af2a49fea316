"""Reading elements by index, and its opposite, adding elements up at an index: each is the other's gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minigrad.backend import array_module
from minigrad.lazy import LazyGradient
from minigrad.ops.shape import reshape
from minigrad.tensor import Tensor, record, tensor

__all__ = ["getitem", "scatter", "take", "take_along_axis"]


def getitem(x: Any, index: Any) -> Tensor:
    """`x[index]`: slices, integers, None, ..., boolean masks, integer arrays or Tensors, and mixtures, as in NumPy.

    A basic index (without arrays) gives a view. An index outside of `x` raises IndexError on the CPU; on a GPU it wraps
    silently.
    """
    x = tensor(x)
    index, shape = _arrays(index, x.data), x.shape

    def vjp(g: Any, out: None) -> tuple:
        if isinstance(g, Tensor):
            return (scatter(g, index, shape),)
        return (
            LazyGradient(g, add=lambda total: _add_at(total, index, g), shape=shape),
        )  # slices of one array: one gradient

    return record(x.data[index], (x,), vjp)


def scatter(x: Any, index: Any, shape: tuple[int, ...]) -> Tensor:
    """Zeros of this shape with `x` added at `index`; elements that go to the same place add up."""
    x = tensor(x)
    index = _arrays(index, x.data)
    data = array_module(x.data).zeros(shape, x.dtype)
    _add_at(data, index, x.data)
    return record(data, (x,), lambda g, out: (g[index],))


def _add_at(total: Any, index: Any, values: Any) -> None:
    if type(index) is slice or _is_basic(index):
        total[index] += values  # no element is named twice
    else:
        array_module(total).add.at(total, index, values)  # total[index] += values would add only one of each place


def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The elements at `indices` (integers of any shape) along `axis`; axis None: of `x` flattened."""
    x = tensor(x)
    x, axis = (reshape(x, -1), 0) if axis is None else (x, normalize_axis_index(axis, x.ndim))
    return getitem(x, (*(slice(None),) * axis, _integers(indices)))


def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Tensor:
    """result[i, j, ...] = x[i, indices[i, j, ...], ...], for `axis` in the place of the second; axis None: of `x`
    flattened.
    """
    x, indices = tensor(x), _integers(indices)
    x, axis = (reshape(x, -1), 0) if axis is None else (x, normalize_axis_index(axis, x.ndim))
    if indices.ndim != x.ndim:
        raise ValueError(
            f"take_along_axis: the indices need as many axes as the tensor, got shapes {indices.shape} and {x.shape}"
        )
    grid = [array_module(x.data).arange(n).reshape((-1,) + (1,) * (x.ndim - 1 - a)) for a, n in enumerate(x.shape)]
    return getitem(x, (*grid[:axis], indices, *grid[axis + 1 :]))


def _integers(indices: Any) -> Any:
    indices = indices.data if isinstance(indices, Tensor) else indices
    return indices if hasattr(indices, "dtype") else np.asarray(indices, dtype=np.intp)


def _arrays(index: Any, like: Any) -> Any:
    """The index with Tensors, lists and NumPy arrays in it turned into arrays of the module of `like`."""
    if type(index) is slice or type(index) is int:
        return index
    if isinstance(index, tuple):
        return tuple([_arrays(part, like) for part in index])
    if isinstance(index, Tensor):
        return index.data
    if isinstance(index, (list, np.ndarray)) and array_module(like) is not np:
        return array_module(like).asarray(index, dtype=np.intp if isinstance(index, list) and not index else None)
    return index


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or type(part) in (int, slice) or isinstance(part, np.integer) for part in parts
    )
