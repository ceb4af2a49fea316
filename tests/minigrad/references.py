"""What every function of the catalogue should return, in plain NumPy and for clarity alone.

They are called as in the catalogue: differentiated inputs first, all others by name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import erf
from typing import Any

import numpy as np

from minigrad.fused.dropout import keep_mask

Array = np.ndarray

_erf = np.vectorize(erf, otypes=[float])


def _softmax(x: Array, axis: Any = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf)) if x.size else np.exp(x)
    return e / e.sum(axis, keepdims=True)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _gelu(x: Array, approximate: str) -> Array:
    if approximate == "none":
        return x * 0.5 * (1 + _erf(x / np.sqrt(2)))
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _gated(activation: Callable) -> Callable:
    def function(x: Array, up: Array | None = None, **options: Any) -> Array:
        gate, up = np.split(x, 2, axis=-1) if up is None else (x, up)
        return activation(gate, **options) * up

    return function


def _silu(x: Array) -> Array:
    return x * _sigmoid(x)


def _linear_activation(x: Array, weight: Any, bias: Any = 0.0, *, activation: Callable) -> Array:
    exact, tanh = (partial(_gelu, approximate=form) for form in ("none", "tanh"))
    plain = {"gelu": exact, "gelu_tanh": tanh, "silu": _silu}
    functions = {**plain, "swiglu": _gated(_silu), "geglu": _gated(exact), "geglu_tanh": _gated(tanh)}
    return functions[activation](_linear(x, weight, bias))


def _layer_norm(x: Array, weight: Any = 1.0, bias: Any = 0.0, *, eps: float) -> Array:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias


def _rms_norm(x: Array, weight: Any = 1.0, *, eps: float) -> Array:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def _rope(x: Array, cos: Array, sin: Array, interleaved: bool) -> Array:
    """Pairs of numbers as complex numbers, multiplied by cos + i sin of an angle."""
    half = x.shape[-1] // 2
    pairs = x.reshape(*x.shape[:-1], half, 2) if interleaved else np.stack([x[..., :half], x[..., half:]], -1)
    rotated = (pairs[..., 0] + 1j * pairs[..., 1]) * (cos + 1j * sin)
    if interleaved:
        return np.stack([rotated.real, rotated.imag], -1).reshape(x.shape)
    return np.concatenate([rotated.real, rotated.imag], -1)


def _dropout_factors(shape: tuple[int, ...], p: float, key: Any) -> Array:
    """What dropout multiplies by. That the mask is random is the subject of test_fused_dropout.py."""
    return keep_mask(key, shape, p) / (1 - p) if p else np.ones(shape)


def _attention(
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None = None,
    *,
    causal: bool,
    window: int | None,
    scale: float | None,
    soft_cap: float | None,
    mask: Array | None = None,
    dropout: float = 0.0,
    key: Any = None,
) -> Array:
    """One query at a time, one head at a time."""
    (B, H, T, D), S = q.shape, k.shape[2]
    k, v = np.repeat(k, H // k.shape[1], 1), np.repeat(v, H // v.shape[1], 1)
    factors = _dropout_factors((B, H, T, S), dropout, key)
    out = np.zeros_like(q)
    for b, h, t in np.ndindex(B, H, T):
        scores = k[b, h] @ q[b, h, t] * (D**-0.5 if scale is None else scale)
        if soft_cap is not None:
            scores = soft_cap * np.tanh(scores / soft_cap)
        if bias is not None:
            scores = scores + np.broadcast_to(bias, (B, H, T, S))[b, h, t]
        position, keys = S - T + t, np.arange(S)  # the last query is at the position of the last key
        visible = np.ones(S, bool)
        if causal:
            visible &= keys <= position
        if window is not None:
            visible &= abs(keys - position) < window
        if mask is not None:
            visible &= np.broadcast_to(mask, (B, H, T, S))[b, h, t]
        if visible.any():
            out[b, h, t] = (_softmax(scores[visible]) * factors[b, h, t][visible]) @ v[b, h][visible]
    return out


def _cross_entropy(logits: Array, targets: Array, label_smoothing: float, z_loss: float, reduction: str) -> Array:
    losses = np.zeros(targets.shape)
    for row in np.ndindex(targets.shape):
        if targets[row] != -100:
            z = logits[row]
            lse = np.log(np.exp(z).sum())
            probabilities = np.full(len(z), label_smoothing / len(z))
            probabilities[targets[row]] += 1 - label_smoothing
            losses[row] = probabilities @ (lse - z) + z_loss * lse**2
    if reduction == "none":
        return losses
    return losses.sum() / (max(1, np.sum(targets != -100)) if reduction == "mean" else 1)


def _linear(x: Array, weight: Any, bias: Any = 0.0) -> Array:
    return x @ weight.T + bias


def _linear_cross_entropy(x: Array, weight: Any, bias: Any = 0.0, *, soft_cap: float | None, **options: Any) -> Array:
    logits = _linear(x, weight, bias)
    return _cross_entropy(logits if soft_cap is None else soft_cap * np.tanh(logits / soft_cap), **options)


def _pad(x: Array, pad_width: Any, constant_values: float) -> Array:
    return np.pad(x, pad_width, constant_values=constant_values)


def _scatter(x: Array, index: Any, shape: tuple[int, ...]) -> Array:
    total = np.zeros(shape)
    np.add.at(total, index, x)
    return total


# fmt: off
REFERENCES = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": lambda x, y: x ** y,
    "neg": np.negative, "abs": np.abs, "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
    "sqrt": np.sqrt, "rsqrt": lambda x: x ** -0.5, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
    "sigmoid": _sigmoid, "erf": _erf, "relu": lambda x: x * (x > 0),
    "softplus": lambda x: np.log(1 + np.exp(x)), "logaddexp": lambda x, y: np.log(np.exp(x) + np.exp(y)),
    "maximum": np.maximum, "minimum": np.minimum, "where": lambda x, y, condition: np.where(condition, x, y),
    "clip": lambda x, min, max: np.clip(x, min, max), "astype": lambda x, dtype: x.astype(dtype),

    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod, "var": np.var, "std": np.std,
    "logsumexp": lambda x, axis, keepdims: np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims)),
    "softmax": _softmax, "log_softmax": lambda x, axis: np.log(_softmax(x, axis)), "cumsum": np.cumsum,

    "reshape": lambda x, shape: np.reshape(x, shape), "transpose": np.transpose, "swapaxes": np.swapaxes,
    "expand_dims": np.expand_dims, "squeeze": np.squeeze, "broadcast_to": np.broadcast_to,
    "concatenate": lambda *xs, axis: np.concatenate(xs, axis), "stack": lambda *xs, axis: np.stack(xs, axis),
    "split": np.split, "pad": _pad, "flip": np.flip, "roll": np.roll, "tril": np.tril, "triu": np.triu,

    "getitem": lambda x, index: x[index], "scatter": _scatter, "take": np.take, "take_along_axis": np.take_along_axis,
    "matmul": np.matmul, "einsum": lambda *xs, subscripts: np.einsum(subscripts, *xs),

    "linear": _linear, "layer_norm": _layer_norm, "rms_norm": _rms_norm, "gelu": _gelu, "silu": _silu,
    "linear_activation": _linear_activation, "swiglu": _gated(_silu), "geglu": _gated(_gelu),
    "reglu": _gated(lambda x: x * (x > 0)),
    "relu_squared": lambda x: (x * (x > 0)) ** 2, "embedding": lambda weight, ids: weight[ids], "rope": _rope,
    "dropout": lambda x, p, key: x * _dropout_factors(x.shape, p, key), "attention": _attention,
    "cross_entropy": _cross_entropy, "linear_cross_entropy": _linear_cross_entropy,
}
# fmt: on
