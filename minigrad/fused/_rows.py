"""Array helpers shared by the fused functions: an array of any rank as rows, sums over rows, and blocks that stay in cache."""
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad.backend import array_module

BLOCK = 1 << 16         # elements: a few float32 temporaries of this size fit a core's L2 cache
MANY = 8                # rows, of which a product with ones is faster to sum than NumPy's `sum`


def rows(a: Any) -> Any:
    """(..., C) -> (N, C), a view where the memory allows; 0 rows too, where `reshape(-1, C)` would not know N."""
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def row_sum(a: Any) -> Any:
    """(N, C) -> (N, 1), as a product with ones: several times faster than `a.sum(axis=1)` on short rows, if there are many."""
    if len(a) < MANY:
        return a.sum(axis=1, keepdims=True)
    return (a @ array_module(a).ones(a.shape[1], a.dtype))[:, None]


def row_dot(a: Any, b: Any) -> Any:
    """(..., n), (..., n) -> (..., 1): the sum of the products in each row, on the CPU without an array of them. CuPy has no vecdot."""
    return (np.vecdot(a, b) if array_module(a) is np else (a * b).sum(axis=-1))[..., None]


def column_sum(a: Any, out: Any = None) -> Any:
    """(N, C) -> (C,)"""
    xp = array_module(a)
    return xp.matmul(xp.ones(a.shape[0], a.dtype), a, out=out)


def wide(a: Any) -> Any:
    """The array in a dtype to calculate in: float16 and bfloat16 as float32, others as they are (not copied)."""
    return a.astype(np.float32) if a.dtype.itemsize < 4 else a


def blocks(a: Any) -> Iterator[slice]:
    """Slices of the first axis, about BLOCK elements each, so that temporaries stay in cache; on a GPU one slice, all of it."""
    count = a.shape[0]
    step = max(1, BLOCK * count // max(1, a.size)) if array_module(a) is np else max(1, count)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def one_block(a: Any) -> bool:
    """Whether `blocks` would give one slice, all of it."""
    return a.size <= BLOCK
