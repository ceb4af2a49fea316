"""Normalisation over the last axis: LayerNorm and RMSNorm.

LayerNorm: Ba, Kiros, Hinton 2016, arXiv:1607.06450. RMSNorm: Zhang, Sennrich 2019, arXiv:1910.07467.

With h = x − mean(x), r = 1 / √(mean(h²) + eps) and x̂ = h r, where all means are over a row, y = x̂ w + b and

    dx = r (dy w − mean(dy w) − x̂ mean(dy w x̂))     dw = Σ dy x̂     db = Σ dy

RMSNorm is the same with h = x, and without the term mean(dy w). Only mean(x) and r are saved, two numbers for each row.
The sums are written as products with vectors, mean(dy w x̂) = r ((dy h) @ w) / C and dw = r @ (dy h), so one array,
dy h, serves both.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.cuda import rows as kernels
from minigrad.cuda.compiler import c_contiguous, has_kernels
from minigrad.fused.record import Needs, record_fused
from minigrad.fused.rows import (
    as_rows,
    at_least_float32,
    blocks,
    broadcast_columns,
    column_sum,
    fits_one_block,
    row_dot,
    row_sum,
    scale_rows_and_columns,
)
from minigrad.lazy import LazyGradient
from minigrad.tensor import Tensor, tensor


def layer_norm_reference(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """The definition of `layer_norm`."""
    x = tensor(x)
    h = x - x.mean(axis=-1, keepdims=True)
    y = h / ((h * h).mean(axis=-1, keepdims=True) + eps) ** 0.5
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def rms_norm_reference(x: Any, weight: Any = None, eps: float = 1e-6) -> Tensor:
    """The definition of `rms_norm`."""
    x = tensor(x)
    y = x / ((x * x).mean(axis=-1, keepdims=True) + eps) ** 0.5
    return y if weight is None else y * weight


def layer_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """(x − mean) / √(variance + eps) · weight + bias over the last axis, x (..., C).

    weight and bias (C,); None stands for ones and zeros.
    """
    x, weight, bias = _inputs("layer_norm", x, weight=weight, bias=bias)
    y, mean, r = normalize(x.data, weight.data, bias.data, eps, centred=True)

    def vjp(g: Array, needs: Needs) -> tuple:
        return _gradients(g, x.data, weight.data, mean, r)

    return record_fused(y, (x, weight, bias), vjp, partial(layer_norm_reference, eps=eps))


def rms_norm(x: Any, weight: Any = None, eps: float = 1e-6) -> Tensor:
    """x / √(mean(x²) + eps) · weight over the last axis, x (..., C). weight (C,); None stands for ones."""
    x, weight = _inputs("rms_norm", x, weight=weight)
    y, _, r = normalize(x.data, weight.data, None, eps, centred=False)

    def vjp(g: Array, needs: Needs) -> tuple:
        return _gradients(g, x.data, weight.data, None, r)[:2]

    return record_fused(y, (x, weight), vjp, partial(rms_norm_reference, eps=eps))


# --- on arrays --------------------------------------------------------------------------------------------------------


def normalize(x: Array, weight: Array, bias: Array | None, eps: float, *, centred: bool) -> tuple:
    """The norm of an array: y in the shape of x; the mean (N,), or None unless `centred`; and r (N,).

    `centred`: subtract the mean, as LayerNorm does.
    """
    X, w = at_least_float32(as_rows(x)), at_least_float32(weight)  # (N, C), (C,)
    if has_kernels(X):
        X, w, bias = c_contiguous(X, w, bias)
        y, mean, r = kernels.normalize(X, w, bias, eps, centred=centred)
        return y.astype(x.dtype, copy=False).reshape(x.shape), mean, r
    y = np.empty_like(X)
    if fits_one_block(X):
        mean, r = _normalize_block(X, w, bias, eps, centred=centred, out=y)
    else:
        found = [_normalize_block(X[s], w, bias, eps, centred=centred, out=y[s]) for s in blocks(X)]
        means, rs = zip(*found)
        mean, r = np.concatenate(means) if centred else None, np.concatenate(rs)
    return y.astype(x.dtype, copy=False).reshape(x.shape), mean, r


def _normalize_block(x: Array, weight: Array, bias: Array | None, eps: float, *, centred: bool, out: Array) -> tuple:
    """Write y (n, C) to `out`; returns the mean (n,) or None, and r (n,)."""
    mean, C = None, x.shape[1]
    if centred:
        mean = row_sum(x) / C
        x = np.subtract(x, broadcast_columns(mean, C), out=out)  # h
    r = math.sqrt(C) / np.sqrt(row_dot(x, x) + C * eps)  # = 1 / √(mean(h²) + eps), with one division less
    scale_rows_and_columns(x, r, weight, out)
    if bias is not None:
        out += bias
    return mean, r


def _gradients(g: Array, x: Array, weight: Array, mean: Array | None, r: Array) -> tuple:
    """dx, dw and db, the latter without meaning for RMSNorm, which has no mean."""
    xp, X, G, w = array_module(x), as_rows(x), as_rows(g), at_least_float32(weight)  # X, G: (N, C)
    if has_kernels(X):
        G, X, w = c_contiguous(G, X, w)
        dx, dy_xhat = kernels.norm_gradients(G, X, w, mean, r)
        dw, db = (LazyGradient(weight, partial(column_sum, a)) for a in (dy_xhat, G))
        return dx.reshape(x.shape), dw, db
    dx, dw, db = xp.empty(X.shape, X.dtype), xp.zeros_like(w), xp.zeros_like(w)
    C = X.shape[1]
    for s in blocks(X):
        # dx = dy (r w) + h k + c, where k = −r³ mean(dy w h) and c = −r mean(dy w) are one number for each row
        dy, r_block, h = at_least_float32(G[s]), r[s], _centred(X[s], None if mean is None else mean[s])
        dy_h = dy * h
        dw += r_block @ dy_h
        rest = h * broadcast_columns((dy_h @ w) * (r_block * r_block * r_block / -C), C)  # h k
        if mean is not None:
            rest += broadcast_columns((dy @ w) * (r_block / -C), C)  # + c
            db += column_sum(dy)
        dy_r_w = dy_h  # its memory, used again
        scale_rows_and_columns(dy, r_block, w, dy_r_w)
        np.add(dy_r_w, rest, out=dx[s])
    return dx.reshape(x.shape), dw, db


def _centred(x: Array, mean: Array | None) -> Array:
    """h = x - mean, or x where there is no mean: (n, C)"""
    return at_least_float32(x) if mean is None else x - broadcast_columns(mean, x.shape[1])


def _inputs(name: str, x: Any, **parameters: Any) -> tuple[Tensor, ...]:
    """x and its parameters as Tensors, checked. In place of None, a weight is ones and a bias is zeros."""
    x = tensor(x)
    if x.ndim == 0:
        raise ValueError(f"{name} works over the last axis, but x is a single number; give it shape (..., C)")
    found, C, xp = [x], x.shape[-1], array_module(x.data)
    for what, parameter in parameters.items():
        if parameter is None:
            parameter = (xp.ones if what == "weight" else xp.zeros)(C, x.dtype)
        found.append(tensor(parameter))
        if found[-1].shape != (C,):
            raise ValueError(f"{name} of x {x.shape} needs a {what} of shape {(C,)}, this one has {found[-1].shape}")
    return tuple(found)
