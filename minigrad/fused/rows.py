"""Array helpers of the fused functions: an array of any rank as rows, sums of rows, and blocks that stay in the cache.

Two facts about NumPy explain most of them. A product with a vector of ones is computed by BLAS, and so sums rows or
columns several times faster than `sum`. And where an operation broadcasts, NumPy starts an inner loop for each row. If
rows are short, the start costs more than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, at_least_float32
from minigrad.cuda.products import matmul
from minigrad.sums import column_sums

BLOCK_ELEMENTS = 1 << 16  # of a block: a few float32 temporaries of this size fit into a core's L2 cache
MIN_ROWS_FOR_BLAS_SUM = 8  # with this many rows or more, a product with ones sums them faster than `sum`
MIN_WIDTH_FOR_VECDOT = 64  # if rows are this long or longer, np.vecdot is faster than a product and a sum
NARROW = 128  # if rows are shorter than this, the start of an inner loop for each costs more than the arithmetic


def as_rows(a: Array) -> Array:
    """(..., C) -> (N, C), a view where the memory allows."""
    # Not reshape(-1, C), which cannot tell N if C is 0.
    return a if a.ndim == 2 else a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


# --- sums -------------------------------------------------------------------------------------------------------------


def row_sum(a: Array) -> Array:
    """The sums of the rows: (..., n) -> (...)"""
    if a.size < MIN_ROWS_FOR_BLAS_SUM * a.shape[-1] or array_module(a) is not np:
        return a.sum(axis=-1)
    return a @ np.ones(a.shape[-1], a.dtype)


def row_dot(a: Array, b: Array) -> Array:
    """The sums of the products in each row: (..., n), (..., n) -> (...)"""
    if a.shape[-1] >= MIN_WIDTH_FOR_VECDOT and array_module(a) is np:  # CuPy has no vecdot
        return np.vecdot(a, b)  # needs no array of the products
    return row_sum(a * b)


def column_sum(a: Array, out: Array | None = None) -> Array:
    """The sums of the columns: (N, C) -> (C,)"""
    xp = array_module(a)
    if xp is not np:
        return matmul(_ones_on_gpu(xp, a.device.id, len(a), a.dtype), a, out)
    total = column_sums(at_least_float32(a))
    if out is None:
        return total
    out[...] = total
    return out


@lru_cache(maxsize=16)
def _ones_on_gpu(xp: ModuleType, device: int, n: int, dtype: Any) -> Array:
    """A vector of ones, not to be changed. Cached, because filling it would take as long as the product."""
    return xp.ones(n, dtype)


# --- products with vectors along rows and columns ---------------------------------------------------------------------


def outer(a: Array, b: Array) -> Array:
    """All products: (N,), (C,) -> (N, C)"""
    if not _is_narrow(a, len(b)):
        return a[:, None] * b
    # As a matrix product, which BLAS computes without a loop for each row. NumPy gives no product over an axis of
    # length 1 to BLAS, so that axis gets a second element, of zeros.
    left, right = np.zeros((len(a), 2), a.dtype), np.zeros((2, len(b)), b.dtype)
    left[:, 0], right[0] = a, b
    return left @ right


def broadcast_columns(a: Array, n: int) -> Array:
    """`a` (N,) as a column that broadcasts to (N, n): an array (N, 1), or (N, n) where that is faster."""
    return outer(a, np.ones(n, a.dtype)) if _is_narrow(a, n) else a[:, None]


def scale_rows_and_columns(a: Array, r: Array, w: Array, out: Array) -> None:
    """out = a * outer(r, w), for a (N, C), r (N,) and w (C,). `out` may be a."""
    if _is_narrow(r, len(w)):
        np.multiply(a, outer(r, w), out=out)
    else:  # without an array for the outer product
        np.multiply(a, r[:, None], out=out)
        out *= w


def _is_narrow(a: Array, n: int) -> bool:
    """Whether the operations on `a` are NumPy's, and rows of n numbers are short for its inner loops."""
    return n < NARROW and array_module(a) is np


# --- blocks ----------------------------------------------------------------------------------------------------------


def blocks(a: Array) -> Iterator[slice]:
    """Slices of the first axis with about BLOCK_ELEMENTS elements each. On a GPU there is one slice."""
    count = a.shape[0]
    step = max(1, BLOCK_ELEMENTS * count // max(1, a.size)) if array_module(a) is np else max(1, count)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def fits_one_block(a: Array) -> bool:
    """Whether `blocks` would give one slice."""
    return a.size <= BLOCK_ELEMENTS or array_module(a) is not np
