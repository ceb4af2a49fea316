"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864): pairs of features are rotated, by an angle that grows
with the position.

    (a, b) -> (a cos − b sin, a sin + b cos)      the angle of pair j = 0 ... D/2 − 1 at position t is t · base^(−2j/D)

If q and k are rotated in this way, q·k depends only on the distance of their positions, because rotating both by the
same angle changes nothing. Which two features make a pair is a convention: feature j and j + D/2 ("half-split":
GPT-NeoX, Llama in Hugging Face's form), or 2j and 2j + 1 ("interleaved": GPT-J, Llama as first published).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from minigrad.backend import DEFAULT_FLOAT, Array, array_module, as_array
from minigrad.cuda import elements as kernels
from minigrad.cuda.compiler import c_contiguous, has_kernels, real_of
from minigrad.ops.shape import concatenate, stack
from minigrad.tensor import Tensor, as_tensor, record


def rope_tables(positions: Any, dim: int, base: float = 10000.0, dtype: Any = DEFAULT_FLOAT) -> tuple[Array, Array]:
    """cos and sin of all angles, (T, dim/2) both, for positions (T,) and `dim` features, an even number."""
    return cos_and_sin(positions, rope_frequencies(dim, base), dtype)


def rope_frequencies(dim: int, base: float = 10000.0) -> np.ndarray:
    """The angle by which each pair of features turns from one position to the next: (dim/2,) float64, in radians."""
    if dim % 2:
        raise ValueError(f"rope rotates pairs of features, so dim must be even; it is {dim}")
    return base ** (np.arange(0, dim, 2, dtype=np.float64) / -dim)


def cos_and_sin(
    positions: Any, frequencies: Any, dtype: Any = DEFAULT_FLOAT, factor: float = 1.0
) -> tuple[Array, Array]:
    """`rope_tables` for other frequencies (n,), (T, n) both, times `factor`.

    Models are adapted to longer texts by lower frequencies. YaRN (Peng et al. 2023, arXiv:2309.00071) and LongRoPE
    (Ding et al. 2024, arXiv:2402.13753) multiply cos and sin by a factor, too.
    """
    positions = as_array(positions)
    xp = array_module(positions)
    # In float64: angles at late positions are large, and float32 would round them too coarsely.
    angle = positions[..., None] * xp.asarray(frequencies, dtype=np.float64)  # (T, n)
    return (factor * np.cos(angle)).astype(dtype), (factor * np.sin(angle)).astype(dtype)


def rope_reference(x: Any, cos: Any, sin: Any, *, interleaved: bool = False) -> Tensor:
    """The definition of `rope`."""
    x, cos, sin = as_tensor(x), _table(cos), _table(sin)
    n = cos.shape[-1]
    # Both (..., T, n): the first and the second feature of each pair.
    a, b = (x[..., 0 : 2 * n : 2], x[..., 1 : 2 * n : 2]) if interleaved else (x[..., :n], x[..., n : 2 * n])
    pair = [a * cos - b * sin, a * sin + b * cos]
    rotated = stack(pair, axis=-1).reshape(*x.shape[:-1], 2 * n) if interleaved else concatenate(pair, axis=-1)
    return concatenate([rotated, x[..., 2 * n :]], axis=-1).astype(x.dtype)


def rope(x: Any, cos: Any, sin: Any, *, interleaved: bool = False) -> Tensor:
    """x (..., T, D) with its pairs of features rotated.

    cos and sin come from `rope_tables`, broadcast to (..., T, D/2) and get no gradient. With tables of fewer columns,
    n < D/2, the first 2n features are rotated and the others stay as they are (partial rotary).
    """
    x, cos, sin = as_tensor(x), _table(cos), _table(sin)
    _check(x, cos, sin)
    y = rotate(x.data, cos, sin, interleaved=interleaved)
    # A rotation is linear, and its transpose is the rotation by the opposite angle. So the gradient is rope with −sin;
    # nothing is saved, and derivatives of any order come for free.
    return record(y, (x,), lambda g, out: (rope(g, cos, -sin, interleaved=interleaved),))


def rotate(x: Array, cos: Array, sin: Array, *, interleaved: bool) -> Array:
    """`rope` of an array."""
    n, rotate_pairs = cos.shape[-1], _rotate_interleaved if interleaved else _rotate_halves
    if has_kernels(x):
        rotate_pairs = partial(_rotate_by_kernel, interleaved=interleaved)
    if 2 * n == x.shape[-1]:
        return rotate_pairs(x, cos, sin)
    return np.concatenate([rotate_pairs(x[..., : 2 * n], cos, sin), x[..., 2 * n :]], axis=-1)


def _rotate_halves(x: Array, cos: Array, sin: Array) -> Array:
    """x = (a, b) -> (a cos, b cos) + (−b sin, a sin)"""
    # Two products of whole rows, because NumPy is slow on inner loops as short as half a head.
    xp = array_module(x)
    pairs = xp.ascontiguousarray(x).reshape(*x.shape[:-1], 2, cos.shape[-1])  # (..., T, 2, D/2)
    out = pairs * np.stack([cos, cos], axis=-2)
    # `take` copies a half at once; a flipped view would be read number by number.
    swapped = np.take(pairs, xp.arange(1, -1, -1), axis=-2)  # (b, a)
    out += swapped * np.stack([-sin, sin], axis=-2)
    return out.reshape(x.shape).astype(x.dtype, copy=False)


def _rotate_interleaved(x: Array, cos: Array, sin: Array) -> Array:
    """A pair of neighbours is a complex number a + ib, and its rotation is the product with cos + i sin."""
    out = x.astype(np.promote_types(x.dtype, np.float32), order="C")  # a copy
    pairs = out.view(np.promote_types(out.dtype, np.complex64))  # (..., T, D/2)
    pairs *= cos + 1j * sin
    return out.astype(x.dtype, copy=False)


def _rotate_by_kernel(x: Array, cos: Array, sin: Array, *, interleaved: bool) -> Array:
    rows, n = cos.shape[:-1], cos.shape[-1]
    # The kernel takes angles (T, n) for all texts. If the texts have different positions, so that the tables have more
    # axes, each row of x gets a row of angles of its own.
    if math.prod(rows) != math.prod(rows[-1:]):
        cos, sin = (np.broadcast_to(a, (*x.shape[:-1], n)) for a in (cos, sin))
    (x,) = c_contiguous(x)
    cos, sin = (array_module(x).ascontiguousarray(a, real_of(x.dtype)) for a in (cos, sin))
    return kernels.rotate(x, cos.reshape(-1, n), sin.reshape(-1, n), interleaved=interleaved)


def _table(a: Any) -> Array:
    return a.data if isinstance(a, Tensor) else as_array(a)


def _check(x: Tensor, cos: Array, sin: Array) -> None:
    if x.ndim == 0 or cos.shape != sin.shape or 2 * cos.shape[-1] > x.shape[-1]:
        raise ValueError(
            f"rope rotates x (..., T, D) by cos and sin (..., T, n) with n at most D/2, but x has shape {x.shape}, "
            f"cos {cos.shape} and sin {sin.shape}"
        )
