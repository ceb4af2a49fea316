"""Array helpers shared by the fused functions: an array of any rank as rows, sums over rows, and blocks that stay in
cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.backend import array_module

BLOCK = 1 << 16  # elements: a few float32 temporaries of this size fit a core's L2 cache
MANY = 8  # rows, of which a product with ones is faster to sum than NumPy's `sum`
LONG = 64  # numbers in a row, for which a dot product of its own pays
SHORT = 128  # numbers in a row, for which a loop of its own costs too much


def rows(a: Any) -> Any:
    """(..., C) -> (N, C), a view where the memory allows; 0 rows too, where `reshape(-1, C)` would not know N."""
    return a if a.ndim == 2 else a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def row_sum(a: Any) -> Any:
    """(..., n) -> (...), as a product with ones: several times faster than `a.sum(axis=-1)` on short rows, if there are
    many.
    """
    if a.size < MANY * a.shape[-1] or array_module(a) is not np:
        return a.sum(axis=-1)
    return a @ np.ones(a.shape[-1], a.dtype)


def row_dot(a: Any, b: Any) -> Any:
    """(..., n), (..., n) -> (...): the sum of the products in each row. Of long rows without an array of them; CuPy has
    no vecdot.
    """
    return np.vecdot(a, b) if a.shape[-1] >= LONG and array_module(a) is np else row_sum(a * b)


def outer(a: Any, b: Any) -> Any:
    """(N,), (C,) -> (N, C), all products. Of short rows by BLAS: NumPy begins a loop for each row, which takes several
    times as long.

    The second term of zeros is there because NumPy leaves no product over an axis of length 1 to BLAS.
    """
    if not _loops_cost(a, len(b)):
        return a[:, None] * b
    left, right = np.zeros((len(a), 2), a.dtype), np.zeros((2, len(b)), b.dtype)
    left[:, 0], right[0] = a, b
    return left @ right


def broadcast_columns(a: Any, n: int) -> Any:
    """(N,) -> what broadcasts to (N, n), each number along a row; where rows are short it is as large already, for the
    same reason.
    """
    return outer(a, np.ones(n, a.dtype)) if _loops_cost(a, n) else a[:, None]


def scale_rows_and_columns(a: Any, r: Any, w: Any, out: Any) -> None:
    """out = a * outer(r, w), for a (N, C), r (N,) and w (C,); `out` may be a. Of long rows without an array of the
    outer product.
    """
    if _loops_cost(r, len(w)):
        np.multiply(a, outer(r, w), out=out)
    else:
        np.multiply(a, r[:, None], out=out)
        out *= w


def _loops_cost(a: Any, n: int) -> bool:
    """Whether NumPy goes through rows of n numbers, and they are short."""
    return n < SHORT and array_module(a) is np


def column_sum(a: Any, out: Any = None) -> Any:
    """(N, C) -> (C,)"""
    xp = array_module(a)
    ones = np.ones(len(a), a.dtype) if xp is np else _ones_there(xp, a.device.id, len(a), a.dtype)
    return xp.matmul(ones, a, out=out)


@lru_cache(maxsize=16)
def _ones_there(xp: ModuleType, device: int, n: int, dtype: Any) -> Any:
    """On a GPU, to be read only. Kept, for to fill it takes nearly as long to start as the product."""
    return xp.ones(n, dtype)


def at_least_float32(a: Any) -> Any:
    """The array in a dtype to calculate in: float16 and bfloat16 as float32, others as they are (not copied)."""
    return a.astype(np.float32) if a.dtype.itemsize < 4 else a


def blocks(a: Any) -> Iterator[slice]:
    """Slices of the first axis, about BLOCK elements each, so that temporaries stay in cache; on a GPU one slice, all
    of it.
    """
    count = a.shape[0]
    step = max(1, BLOCK * count // max(1, a.size)) if array_module(a) is np else max(1, count)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def fits_one_block(a: Any) -> bool:
    """Whether `blocks` would give one slice, all of it."""
    return a.size <= BLOCK or array_module(a) is not np
