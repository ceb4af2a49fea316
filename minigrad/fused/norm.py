"""Normalisation over the last axis: LayerNorm and RMSNorm.

LayerNorm: Ba, Kiros, Hinton 2016, arXiv:1607.06450. RMSNorm: Zhang, Sennrich 2019, arXiv:1910.07467.

All means are over a row, which has C numbers:

    h = x − mean(x)     r = 1 / √(mean(h²) + eps)     x̂ = h r     y = x̂ w + b

    dx = r (dy w − mean(dy w) − x̂ mean(dy w x̂))     dw = Σ dy x̂     db = Σ dy

The first term of dx is the gradient for constant mean and r. The others are there because x̂ stays the same (apart from
eps) if the row is shifted or stretched: dx must have no component in these two directions. The second term removes the
shift, the third the stretch. RMSNorm is the same with h = x, and without the term mean(dy w), because a shift does
change its result.

Only mean(x) and r are saved, two numbers for each row. Since x̂ = h r, the last mean in dx and the sum dw need the same
array, dy h, and each is a product of it with a vector:

    mean(dy w x̂) = r ((dy h) @ w) / C     dw = r @ (dy h)
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, at_least_float32
from minigrad.cuda import rows as kernels
from minigrad.cuda.compiler import c_contiguous, has_kernels
from minigrad.fused.record import Needs, record_fused
from minigrad.fused.rows import (
    as_rows,
    blocks,
    broadcast_columns,
    column_sum,
    fits_one_block,
    row_dot,
    row_sum,
    scale_rows_and_columns,
)
from minigrad.lazy import LazyGradient
from minigrad.ops.arguments import as_number
from minigrad.tensor import Tensor, as_tensor


def layer_norm_reference(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """The definition of `layer_norm`."""
    x, dtype = at_least_float32(as_tensor(x)), as_tensor(x).dtype  # the square of 256 is infinite in float16
    h = x - x.mean(axis=-1, keepdims=True)
    y = h / ((h * h).mean(axis=-1, keepdims=True) + eps) ** 0.5
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias).astype(dtype)


def rms_norm_reference(x: Any, weight: Any = None, eps: float = 1e-6) -> Tensor:
    """The definition of `rms_norm`."""
    x, dtype = at_least_float32(as_tensor(x)), as_tensor(x).dtype
    y = x / ((x * x).mean(axis=-1, keepdims=True) + eps) ** 0.5
    return (y if weight is None else y * weight).astype(dtype)


def layer_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """(x − mean) / √(variance + eps) · weight + bias over the last axis, x (..., C).

    weight and bias (C,); None stands for ones and zeros.
    """
    x, weight, bias = _inputs("layer_norm", x, weight=weight, bias=bias)
    eps = as_number(eps, "eps")  # a NumPy scalar would promote float32
    y, mean, r = normalize(x.data, weight.data, bias.data, eps, centered=True)

    def vjp(g: Array, needs: Needs) -> tuple:  # `needs` says which inputs need a gradient; here all are computed
        return _gradients(g, x.data, weight.data, mean, r)

    return record_fused(y, (x, weight, bias), vjp, partial(layer_norm_reference, eps=eps))


def rms_norm(x: Any, weight: Any = None, eps: float = 1e-6) -> Tensor:
    """x / √(mean(x²) + eps) · weight over the last axis, x (..., C). weight (C,); None stands for ones."""
    x, weight = _inputs("rms_norm", x, weight=weight)
    eps = as_number(eps, "eps")  # a NumPy scalar would promote float32
    y, _, r = normalize(x.data, weight.data, None, eps, centered=False)

    def vjp(g: Array, needs: Needs) -> tuple:
        return _gradients(g, x.data, weight.data, None, r)[:2]  # without db

    return record_fused(y, (x, weight), vjp, partial(rms_norm_reference, eps=eps))


# --- on arrays --------------------------------------------------------------------------------------------------------


def normalize(x: Array, weight: Array, bias: Array | None, eps: float, *, centered: bool) -> tuple:
    """Normalize the rows of x. Returns y, in the shape of x; the mean (N,), or None unless `centered`; and r (N,).

    `centered`: subtract the mean, as LayerNorm does.
    """
    if _has_kernels(x, weight):  # on a GPU
        X, w, bias = c_contiguous(as_rows(x), weight, bias)
        y, mean, r = kernels.normalize(X, w, bias, eps, centered=centered)
        return y.reshape(x.shape), mean, r
    X, w = at_least_float32(as_rows(x)), at_least_float32(weight)  # (N, C), (C,)
    y = np.empty_like(X)
    if fits_one_block(X):  # the most frequent case when text is generated: no list, no concatenate
        mean, r = _normalize_block(X, w, bias, eps, centered=centered, out=y)
    else:
        # Each block of rows stays in the cache for all passes over it.
        statistics = [_normalize_block(X[s], w, bias, eps, centered=centered, out=y[s]) for s in blocks(X)]
        means, rs = zip(*statistics)
        mean, r = np.concatenate(means) if centered else None, np.concatenate(rs)
    return y.astype(x.dtype, copy=False).reshape(x.shape), mean, r


def _normalize_block(x: Array, weight: Array, bias: Array | None, eps: float, *, centered: bool, out: Array) -> tuple:
    """Write y (n, C) to `out`; returns the mean (n,) or None, and r (n,)."""
    mean, C = None, x.shape[1]
    if centered:
        mean = row_sum(x) / C
        x = np.subtract(x, broadcast_columns(mean, C), out=out)  # h = x - mean[:, None]; from here on `out` holds it
    # 1 / √(mean(h²) + eps) = √C / √(sum(h²) + C eps), which saves one division.
    r = math.sqrt(C) / np.sqrt(row_dot(x, x) + C * eps)
    scale_rows_and_columns(x, r, weight, out)  # out = x * r[:, None] * weight
    if bias is not None:
        out += bias
    return mean, r


def _gradients(g: Array, x: Array, weight: Array, mean: Array | None, r: Array) -> tuple:
    """dx (the shape of x), dw (C,) and db (C,). RMSNorm has no bias: its caller drops db."""
    xp, X, G = array_module(x), as_rows(x), as_rows(g)  # X, G: (N, C)
    if _has_kernels(X, weight):
        X, G, w = c_contiguous(X, G, weight)
        dx, dy_xhat = kernels.norm_gradients(G, X, w, mean, r)  # (N, C) both
        # Lazy: the sums over the rows are written straight into the optimizer's array of gradients.
        dw, db = (LazyGradient(weight, partial(column_sum, a)) for a in (dy_xhat, G))
        return dx.reshape(x.shape), dw, db
    C, w = X.shape[1], at_least_float32(weight)
    # The sums over the blocks are added in float64, so that they stay exact for any number of rows.
    dx, dw, db = xp.empty(X.shape, X.dtype), xp.zeros(C, np.float64), xp.zeros(C, np.float64)
    for s in blocks(X):
        # dx = dy (r w) + h k + c, where k = −r³ mean(dy w h) and c = −r mean(dy w) are one number for each row. This is
        # the formula above with x̂ = h r put in.
        dy, r_block, h = at_least_float32(G[s]), r[s], _centered(X[s], None if mean is None else mean[s])
        dy_h = dy * h
        dw += r_block @ dy_h  # Σ dy x̂ over the rows of the block
        rest = h * broadcast_columns((dy_h @ w) * (r_block * r_block * r_block / -C), C)  # h k
        if mean is not None:
            rest += broadcast_columns((dy @ w) * (r_block / -C), C)  # + c
            db += column_sum(dy)
        dy_r_w = dy_h  # dy h is not needed any more, so its memory is used again
        scale_rows_and_columns(dy, r_block, w, dy_r_w)
        np.add(dy_r_w, rest, out=dx[s])
    return dx.reshape(x.shape), dw, db


def _has_kernels(x: Array, weight: Array) -> bool:
    """The kernels take one dtype: weights in float32 would be rounded to a half type of x."""
    return has_kernels(x) and (x.dtype.itemsize > 2 or weight.dtype == x.dtype)


def _centered(x: Array, mean: Array | None) -> Array:
    """h = x - mean, or x where there is no mean: (n, C)"""
    return at_least_float32(x) if mean is None else x - broadcast_columns(mean, x.shape[1])


def _inputs(name: str, x: Any, **parameters: Any) -> tuple[Tensor, ...]:
    """x and its parameters as Tensors, checked. For None, a weight of ones or a bias of zeros is made."""
    x = as_tensor(x)
    if x.ndim == 0:
        raise ValueError(f"{name} works over the last axis, but x is a single number; give it shape (..., C)")
    inputs, C, xp = [x], x.shape[-1], array_module(x.data)
    for what, parameter in parameters.items():
        if parameter is None:
            parameter = (xp.ones if what == "weight" else xp.zeros)(C, x.dtype)
        inputs.append(as_tensor(parameter))
        if inputs[-1].shape != (C,):
            raise ValueError(f"{name} of x {x.shape} needs a {what} of shape {(C,)}, this one has {inputs[-1].shape}")
    return tuple(inputs)
