"""Normalisation over the last axis.

LayerNorm: Ba, Kiros, Hinton 2016, arXiv:1607.06450. RMSNorm: Zhang, Sennrich 2019, arXiv:1910.07467.

With h = x − mean(x), r = 1 / √(mean(h²) + eps) and x̂ = h r, all means being over a row, y = x̂ w + b and

    dx = r (dy w − mean(dy w) − x̂ mean(dy w x̂))     dw = Σ dy x̂     db = Σ dy           (RMSNorm: h = x, and no mean(dy w))

Between forward and backward only mean(x) and r are kept, two numbers a row. Sums are taken as products with vectors:
mean(dy w x̂) = r ((dy h) @ w) / C and dw = r @ (dy h), so one array, dy h, serves both.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from minigrad.backend import array_module
from minigrad.cuda import rows as kernels
from minigrad.cuda.compiler import has_kernels, in_order
from minigrad.fused.record import record_fused
from minigrad.fused.rows import (
    at_least_float32,
    blocks,
    broadcast_columns,
    column_sum,
    fits_one_block,
    row_dot,
    row_sum,
    rows,
    scale_rows_and_columns,
)
from minigrad.lazy import LazyGradient
from minigrad.tensor import Tensor, tensor


def layer_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """(x − mean) / √(variance + eps) · weight + bias over the last axis. weight and bias (C,); None stands for ones and
    zeros.
    """
    x, weight, bias = _inputs("layer_norm", x, weight=weight, bias=bias)
    y, mean, r = normalize(x.data, weight.data, bias.data, eps, centred=True)
    return record_fused(
        y,
        (x, weight, bias),
        lambda g, needs: _backward(g, x.data, weight.data, mean, r),
        lambda x, weight, bias: layer_norm_reference(x, weight, bias, eps),
    )


def layer_norm_reference(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    x = tensor(x)
    h = x - x.mean(axis=-1, keepdims=True)
    y = h / ((h * h).mean(axis=-1, keepdims=True) + eps) ** 0.5
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def rms_norm(x: Any, weight: Any = None, eps: float = 1e-6) -> Tensor:
    """x / √(mean(x²) + eps) · weight over the last axis. weight (C,); None stands for ones."""
    x, weight = _inputs("rms_norm", x, weight=weight)
    y, _, r = normalize(x.data, weight.data, None, eps, centred=False)
    return record_fused(
        y,
        (x, weight),
        lambda g, needs: _backward(g, x.data, weight.data, None, r)[:2],
        lambda x, weight: rms_norm_reference(x, weight, eps),
    )


def rms_norm_reference(x: Any, weight: Any = None, eps: float = 1e-6) -> Tensor:
    x = tensor(x)
    y = x / ((x * x).mean(axis=-1, keepdims=True) + eps) ** 0.5
    return y if weight is None else y * weight


def normalize(x: Any, weight: Any, bias: Any, eps: float, centred: bool) -> tuple:
    """Arrays: y of x's shape, mean (N,) or None, r (N,). Not `centred` (RMSNorm), the mean is left in; the bias may be
    None.
    """
    X, w = at_least_float32(rows(x)), at_least_float32(weight)  # (N, C)
    if has_kernels(X):
        X, w, bias = in_order(X, w, bias)
        y, mean, r = kernels.normalize(X, w, bias, eps, centred)
        return y.astype(x.dtype, copy=False).reshape(x.shape), mean, r
    y = np.empty_like(X)
    if fits_one_block(X):
        mean, r = _normalize_block(X, w, bias, eps, centred, y)
    else:
        means, rs = zip(*(_normalize_block(X[s], w, bias, eps, centred, y[s]) for s in blocks(X)))
        mean, r = np.concatenate(means) if centred else None, np.concatenate(rs)
    return y.astype(x.dtype, copy=False).reshape(x.shape), mean, r


def _normalize_block(x: Any, weight: Any, bias: Any, eps: float, centred: bool, y: Any) -> tuple:
    """Writes y (n, C), the place of all steps; mean (n,) or None, and r (n,)."""
    mean, C = None, x.shape[1]
    if centred:
        mean = row_sum(x) / C
        x = np.subtract(x, broadcast_columns(mean, C), out=y)
    r = math.sqrt(C) / np.sqrt(row_dot(x, x) + C * eps)
    scale_rows_and_columns(x, r, weight, y)
    if bias is not None:
        y += bias
    return mean, r


def _centred(x: Any, mean: Any) -> Any:
    """h = x - mean, or x where there is no mean: (n, C)"""
    return at_least_float32(x) if mean is None else x - broadcast_columns(mean, x.shape[1])


def _backward(g: Any, x: Any, weight: Any, mean: Any, r: Any) -> tuple:
    """dx = dy (r w) + h k + c, with k = −r³ mean(dy w h) and c = −r mean(dy w) of each row."""
    xp, X, G, w = array_module(x), rows(x), rows(g), at_least_float32(weight)
    if has_kernels(X):
        G, X, w = in_order(G, X, w)
        dx, part = kernels.norm_gradients(G, X, w, mean, r)
        return dx.reshape(x.shape), *(LazyGradient(weight, partial(column_sum, a)) for a in (part, G))
    dx, dw, db = xp.empty(X.shape, X.dtype), xp.zeros_like(w), xp.zeros_like(w)
    C = X.shape[1]
    for s in blocks(X):
        dy, rs, h = at_least_float32(G[s]), r[s], _centred(X[s], None if mean is None else mean[s])
        t = dy * h
        dw += rs @ t
        rest = h * broadcast_columns((t @ w) * (rs * rs * rs / -C), C)
        if mean is not None:
            rest += broadcast_columns((dy @ w) * (rs / -C), C)
            db += column_sum(dy)
        scale_rows_and_columns(dy, rs, w, t)
        np.add(t, rest, out=dx[s])
    return dx.reshape(x.shape), dw, db


def _inputs(name: str, x: Any, **parameters: Any) -> tuple[Tensor, ...]:
    """x and its parameters as Tensors; in the place of None, a weight of ones or a bias of zeros."""
    x = tensor(x)
    if x.ndim == 0:
        raise ValueError(f"{name} works over the last axis, but x is a single number; give it shape (..., C)")
    found, C, xp = [x], x.shape[-1], array_module(x.data)
    for what, parameter in parameters.items():
        found.append(
            tensor((xp.ones if what == "weight" else xp.zeros)(C, x.dtype) if parameter is None else parameter)
        )
        if found[-1].shape != (C,):
            raise ValueError(f"{name} of x {x.shape} needs a {what} of shape {(C,)}, this one has {found[-1].shape}")
    return tuple(found)
