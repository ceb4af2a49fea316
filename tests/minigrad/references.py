"""What every function of the catalogue should give, in plain NumPy: called as in the catalogue, differentiated inputs
first.
"""

from __future__ import annotations

from functools import partial
from math import erf

import numpy as np

from minigrad.fused.dropout import keep_mask

_erf = np.vectorize(erf, otypes=[float])


def _exponentials(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf)) if x.size else np.exp(x)
    return e, e.sum(axis, keepdims=True)


def _softmax(x, axis=-1):
    e, total = _exponentials(x, axis)
    return e / total


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _gelu(x, approximate):
    if approximate == "none":
        return x * 0.5 * (1 + _erf(x / np.sqrt(2)))
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _gated(activation):
    def function(x, up=None, **options):
        gate, up = np.split(x, 2, axis=-1) if up is None else (x, up)
        return activation(gate, **options) * up

    return function


def _silu(x):
    return x * _sigmoid(x)


def _linear_activation(x, weight, bias=0.0, *, activation):
    exact, tanh = (partial(_gelu, approximate=form) for form in ("none", "tanh"))
    functions = {"gelu": exact, "gelu_tanh": tanh, "silu": _silu, "swiglu": _gated(_silu), "geglu": _gated(exact)}
    return functions[activation](_linear(x, weight, bias))


def _layer_norm(x, weight=1.0, bias=0.0, *, eps):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias


def _rms_norm(x, weight=1.0, *, eps):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def _rope(x, cos, sin, interleaved):
    """Pairs of numbers as complex numbers, turned by an angle."""
    half = x.shape[-1] // 2
    pairs = x.reshape(*x.shape[:-1], half, 2) if interleaved else np.stack([x[..., :half], x[..., half:]], -1)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * (cos + 1j * sin)
    if interleaved:
        return np.stack([turned.real, turned.imag], -1).reshape(x.shape)
    return np.concatenate([turned.real, turned.imag], -1)


def _kept(shape, p, key):
    """What dropout multiplies by. That the mask itself is as random as it should be is another test's business."""
    return keep_mask(key, shape, p) / (1 - p) if p else np.ones(shape)


def _attention(q, k, v, bias=None, *, causal, window, scale, mask=None, dropout=0.0, key=None):
    """One query at a time, one head at a time."""
    (B, H, T, D), S = q.shape, k.shape[2]
    k, v = np.repeat(k, H // k.shape[1], 1), np.repeat(v, H // v.shape[1], 1)
    kept = _kept((B, H, T, S), dropout, key)
    out = np.zeros_like(q)
    for b, h, t in np.ndindex(B, H, T):
        scores = k[b, h] @ q[b, h, t] * (D**-0.5 if scale is None else scale)
        if bias is not None:
            scores = scores + np.broadcast_to(bias, (B, H, T, S))[b, h, t]
        here = S - T + t
        seen = np.array(
            [(not causal or s <= here) and (window is None or abs(s - here) < window) for s in range(S)], bool
        )
        if mask is not None:
            seen &= np.broadcast_to(mask, (B, H, T, S))[b, h, t]
        if seen.any():
            out[b, h, t] = (_softmax(scores[seen]) * kept[b, h, t][seen]) @ v[b, h][seen]
    return out


def _cross_entropy(logits, targets, label_smoothing, z_loss, reduction):
    losses = np.zeros(targets.shape)
    for row in np.ndindex(targets.shape):
        if targets[row] != -100:
            z = logits[row]
            lse = np.log(np.exp(z).sum())
            wanted = np.full(len(z), label_smoothing / len(z))
            wanted[targets[row]] += 1 - label_smoothing
            losses[row] = wanted @ (lse - z) + z_loss * lse**2
    if reduction == "none":
        return losses
    return losses.sum() / (max(1, np.sum(targets != -100)) if reduction == "mean" else 1)


def _linear(x, weight, bias=0.0):
    return x @ weight.T + bias


def _linear_cross_entropy(x, weight, bias=0.0, *, soft_cap, **options):
    logits = _linear(x, weight, bias)
    return _cross_entropy(logits if soft_cap is None else soft_cap * np.tanh(logits / soft_cap), **options)


def _pad(x, pad_width, constant_values):
    return np.pad(x, pad_width, constant_values=constant_values)


def _scatter(x, index, shape):
    total = np.zeros(shape)
    np.add.at(total, index, x)
    return total


# fmt: off
REFERENCES = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": lambda x, y: x ** y,
    "neg": np.negative, "abs": np.abs,
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt, "rsqrt": lambda x: x ** -0.5,
    "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "sigmoid": _sigmoid, "erf": _erf, "relu": lambda x: x * (x > 0),
    "maximum": np.maximum, "minimum": np.minimum, "where": lambda x, y, condition: np.where(condition, x, y),
    "clip": lambda x, min, max: np.clip(x, min, max), "astype": lambda x, dtype: x.astype(dtype),

    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod, "var": np.var, "std": np.std,
    "logsumexp": lambda x, axis, keepdims: np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims)),
    "softmax": _softmax, "log_softmax": lambda x, axis: np.log(_softmax(x, axis)), "cumsum": np.cumsum,

    "reshape": lambda x, shape: np.reshape(x, shape), "transpose": np.transpose, "swapaxes": np.swapaxes, "expand_dims": np.expand_dims,
    "squeeze": np.squeeze, "broadcast_to": np.broadcast_to, "concatenate": lambda *xs, axis: np.concatenate(xs, axis),
    "stack": lambda *xs, axis: np.stack(xs, axis), "split": np.split, "pad": _pad, "flip": np.flip, "roll": np.roll, "tril": np.tril,
    "triu": np.triu,

    "getitem": lambda x, index: x[index], "scatter": _scatter, "take": np.take, "take_along_axis": np.take_along_axis, "matmul": np.matmul,
    "einsum": lambda *xs, subscripts: np.einsum(subscripts, *xs),

    "linear": _linear, "layer_norm": _layer_norm, "rms_norm": _rms_norm, "gelu": _gelu, "silu": _silu,
    "linear_activation": _linear_activation, "swiglu": _gated(_silu), "geglu": _gated(_gelu),
    "relu_squared": lambda x: (x * (x > 0)) ** 2,
    "embedding": lambda weight, ids: weight[ids], "rope": _rope, "dropout": lambda x, p, key: x * _kept(x.shape, p, key),
    "attention": _attention, "cross_entropy": _cross_entropy, "linear_cross_entropy": _linear_cross_entropy,
}
# fmt: on
