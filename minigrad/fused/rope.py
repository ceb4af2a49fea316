"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864): pairs of features are turned by an angle that grows
with the position.

Pair j of D/2 at position t turns by t · base^(−2j/D), so q·k depends on positions only by their distance. Which two
features make a pair is a convention: feature j with j + D/2 (`half-split`: GPT-NeoX, Llama in Hugging Face form), or 2j
with 2j + 1 (`interleaved`: GPT-J, Llama as first published).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from minigrad.backend import DEFAULT_FLOAT, array_module, as_array
from minigrad.cuda import elements as kernels
from minigrad.cuda.compiler import has_kernels, in_order
from minigrad.ops.shape import concatenate, stack
from minigrad.tensor import Tensor, record, tensor


def rope_tables(positions: Any, dim: int, base: float = 10000.0, dtype: Any = DEFAULT_FLOAT) -> tuple[Any, Any]:
    """cos and sin of every angle, arrays (T, dim/2), for positions (T,) and a head of `dim` features, an even
    number.
    """
    if dim % 2:
        raise ValueError(f"rope turns pairs of features, so dim must be even; it is {dim}")
    positions = as_array(positions)
    xp = array_module(positions)
    frequency = base ** (xp.arange(0, dim, 2, dtype=np.float64) / -dim)  # (dim/2,), radians per position
    angle = positions[..., None] * frequency  # (T, dim/2), in float64: late positions are long
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)


def rope(x: Any, cos: Any, sin: Any, interleaved: bool = False) -> Tensor:
    """x (..., T, D) with its pairs turned; cos and sin, from `rope_tables`, broadcast to (..., T, D/2) and get no
    gradient.

    With tables of fewer columns, n < D/2, the first 2n features are turned and the others pass (partial rotary). A turn
    is linear, and its transpose is the turn back: the gradient is `rope` with −sin, of any order, and nothing is saved.
    """
    x, cos, sin = tensor(x), _table(cos), _table(sin)
    _check(x, cos, sin)
    return record(rotate(x.data, cos, sin, interleaved), (x,), lambda g, out: (rope(g, cos, -sin, interleaved),))


def rope_reference(x: Any, cos: Any, sin: Any, interleaved: bool = False) -> Tensor:
    x, cos, sin = tensor(x), _table(cos), _table(sin)
    n = cos.shape[-1]
    a, b = (x[..., 0 : 2 * n : 2], x[..., 1 : 2 * n : 2]) if interleaved else (x[..., :n], x[..., n : 2 * n])
    y, z = a * cos - b * sin, a * sin + b * cos
    turned = stack([y, z], axis=-1).reshape(*x.shape[:-1], 2 * n) if interleaved else concatenate([y, z], axis=-1)
    return concatenate([turned, x[..., 2 * n :]], axis=-1)


def rotate(x: Any, cos: Any, sin: Any, interleaved: bool = False) -> Any:
    """`rope` of an array."""
    n, of_pairs = cos.shape[-1], _turn_interleaved if interleaved else _turn_halves
    if has_kernels(x):
        of_pairs = partial(_turn_by_kernel, interleaved=interleaved)
    if 2 * n == x.shape[-1]:
        return of_pairs(x, cos, sin)
    return np.concatenate([of_pairs(x[..., : 2 * n], cos, sin), x[..., 2 * n :]], axis=-1)


def _turn_halves(x: Any, cos: Any, sin: Any) -> Any:
    """x = (a, b) -> (a cos, b cos) + (−b sin, a sin): NumPy is slow on loops as short as half a head, so two products
    of whole rows.

    `take` copies a half at once, where a flipped view would be read number by number.
    """
    xp = array_module(x)
    pairs = xp.ascontiguousarray(x).reshape(*x.shape[:-1], 2, cos.shape[-1])  # (..., T, 2, D/2)
    out = pairs * np.stack([cos, cos], axis=-2)
    out += np.take(pairs, xp.arange(1, -1, -1), axis=-2) * np.stack([-sin, sin], axis=-2)
    return out.reshape(x.shape).astype(x.dtype, copy=False)


def _turn_interleaved(x: Any, cos: Any, sin: Any) -> Any:
    """Neighbours are the two parts of a complex number, and a turn is the product with cos + i sin."""
    out = x.astype(np.promote_types(x.dtype, np.float32), order="C")  # a copy
    pairs = out.view(np.promote_types(out.dtype, np.complex64))  # (..., T, D/2)
    pairs *= cos + 1j * sin
    return out.astype(x.dtype, copy=False)


def _turn_by_kernel(x: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    rows, n = cos.shape[:-1], cos.shape[-1]
    if math.prod(rows) != math.prod(rows[-1:]):  # positions of their own for each text
        cos, sin = (np.broadcast_to(a, (*x.shape[:-1], n)) for a in (cos, sin))
    x, cos, sin = in_order(x, cos, sin)
    return kernels.turn(x, cos.reshape(-1, n), sin.reshape(-1, n), interleaved)


def _table(a: Any) -> Any:
    return a.data if isinstance(a, Tensor) else as_array(a)


def _check(x: Tensor, cos: Any, sin: Any) -> None:
    if x.ndim == 0 or cos.shape != sin.shape or 2 * cos.shape[-1] > x.shape[-1]:
        raise ValueError(
            f"rope turns x (..., T, D) by cos and sin (..., T, n) with n at most D/2, but x has shape {x.shape}, "
            f"cos {cos.shape} and sin {sin.shape}"
        )
