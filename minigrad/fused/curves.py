"""The curves of the activation functions on plain arrays: values and slopes.

Each is y = x h(x), the input times a gate h(x). For a large negative x, the gate is 0 or near 0. For a large
positive x it is near 1 (for relu_squared, it is x).

    silu          h = 1 / (1 + e^−x)              x h' = y (1 − h)
    gelu          h = Φ(x), the normal CDF        x h' = x φ(x), with the density φ
    gelu (tanh)   h = (1 + tanh u) / 2            x h' = 2 y (1 − h) u',   u = √(2/π) (x + 0.044715 x³)
    relu          h = 1 if x > 0, else 0          x h' = 0             y = max(x, 0), which is 0 also for x = −∞
    relu_squared  h = max(x, 0)                   x h' = h             y = h h, which is 0 also for x = −∞

The slope is dy/dx = h + x h' for all of them. The papers are named in activation.py, where these become functions of
tensors. Large arrays are processed in blocks, so that temporaries stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minigrad.backend import Array, array_module, at_least_float32
from minigrad.cuda import elements as kernels
from minigrad.cuda.compiler import c_contiguous, has_kernels
from minigrad.fused.rows import blocks, fits_one_block
from minigrad.ops.special import erf_array, sigmoid_array


class Curve(NamedTuple):
    """One row of the table above."""

    name: str  # of its kernel in minigrad/cuda/kernels.cu
    gate: Callable[[Array], Array]  # x -> h, a new array
    slope: Callable[[Array, Array, Array, Array], object]  # (x, h, y, out): dy/dx into `out`, which may be x
    value: Callable[..., Array] = np.multiply  # (x, h, out=None): y


# --- the formulas -----------------------------------------------------------------------------------------------------
# They work in place, because a new array costs as much as an operation. In the slopes, `d` becomes x h' step by step.
# `out` is written last, because it may be the memory of x or of h.

_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


def _silu_slope(x: Array, h: Array, y: Array, out: Array) -> None:
    d = y * h
    np.subtract(y, d, out=d)  # y (1 − h)
    np.add(d, h, out=out)


def _normal_cdf(x: Array) -> Array:
    """Φ(x) = (1 + erf(x / √2)) / 2"""
    if x.dtype == np.float32:
        return _normal_cdf_float32(x)
    h = erf_array(x * math.sqrt(0.5))
    h += 1
    h *= 0.5
    return h


def _normal_cdf_float32(x: Array) -> Array:
    """Φ(x) with an error below 2e-7, float32's resolution near 1, in a tenth of the time.

    Abramowitz and Stegun (1964), 7.1.26: with t = 1 / (1 + 0.3275911 |x| / √2),
    Φ(−|x|) = t (a₁ + t (a₂ + ... t a₅)) e^(−x²/2) / 2.
    """
    t = np.abs(x)
    t *= 0.3275911 * math.sqrt(0.5)
    t += 1
    np.divide(1, t, out=t)
    tail = t * (1.061405429 / 2)
    for a in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += a / 2
        tail *= t
    np.multiply(x, x, out=t)
    t *= -0.5
    tail *= np.exp(t, out=t)  # Φ(−|x|)
    h = np.subtract(0.5, tail, out=tail)
    np.copysign(h, x, out=h)  # Φ(x) = 1/2 ± (1/2 − Φ(−|x|)), with the sign of x
    h += 0.5
    return h


def _normal_slope(x: Array, h: Array, y: Array, out: Array) -> None:
    d = x * x
    d *= -0.5
    np.exp(d, out=d)  # e^(−x²/2)
    d *= 1 / math.sqrt(2 * math.pi)  # φ(x)
    d *= x
    np.add(d, h, out=out)


def _tanh_gate(x: Array) -> Array:
    h = x * x
    h *= _SQRT_2_OVER_PI * 0.044715
    h += _SQRT_2_OVER_PI
    h *= x  # u = √(2/π) (x + 0.044715 x³)
    np.tanh(h, out=h)
    h += 1
    h *= 0.5
    return h


def _tanh_slope(x: Array, h: Array, y: Array, out: Array) -> None:
    d = x * x
    d *= 6 * _SQRT_2_OVER_PI * 0.044715
    d += 2 * _SQRT_2_OVER_PI  # 2 u'
    rest = y * h
    np.subtract(y, rest, out=rest)  # y (1 − h), which is 0 for a large x, where 2 u' y would be infinite
    d *= rest
    np.add(d, h, out=out)


SILU = Curve("silu", sigmoid_array, _silu_slope)
GELU = Curve("gelu", _normal_cdf, _normal_slope)
GELU_TANH = Curve("gelu_tanh", _tanh_gate, _tanh_slope)
RELU = Curve(
    "relu",
    gate=lambda x: np.logical_not(x <= 0).astype(x.dtype),  # 1 for NaN, as in PyTorch
    slope=lambda x, h, y, out: np.multiply(h, 1, out=out),
    value=lambda x, h, out=None: np.maximum(x, 0, out=out),
)
RELU_SQUARED = Curve(
    "relu_squared",
    gate=lambda x: np.maximum(x, 0),
    slope=lambda x, h, y, out: np.multiply(h, 2, out=out),
    value=lambda x, h, out=None: np.multiply(h, h, out=out),
)


# --- over arrays of any shape -----------------------------------------------------------------------------------------


def curve_value(x: Array, curve: Curve) -> Array:
    """y = x h(x), a new array."""
    flat_x = x.reshape(-1)
    # The simple case: one block (on a GPU always), and no conversion from float16.
    if fits_one_block(flat_x) and widened(flat_x) is flat_x:
        return times_gate(flat_x, curve).reshape(x.shape)
    y = array_module(x).empty(x.shape, x.dtype)
    flat_y = y.reshape(-1)
    for s in blocks(flat_x):
        a = at_least_float32(flat_x[s])
        curve.value(a, curve.gate(a), out=flat_y[s])
    return y


def curve_gradient(g: Array, x: Array, curve: Curve) -> Array:
    """dx = g dy/dx, a new array."""
    if has_kernels(x):
        x, g = c_contiguous(x, g)
        return kernels.slope_times(g, x, curve.name)
    dx = array_module(x).empty(x.shape, x.dtype)
    flat_x, flat_g, flat_dx = x.reshape(-1), g.reshape(-1), dx.reshape(-1)
    for s in blocks(flat_x):
        _, slope = value_and_slope(at_least_float32(flat_x[s]), curve)
        np.multiply(slope, flat_g[s], out=flat_dx[s])
    return dx


# --- of one block -----------------------------------------------------------------------------------------------------


def widened(x: Array) -> Array:
    """A half type as float32, unless a kernel computes in float32 by itself."""
    return x if has_kernels(x) else at_least_float32(x)


def times_gate(x: Array, curve: Curve) -> Array:
    """y = x h(x), a new array; x as `widened`."""
    if has_kernels(x):
        return value_and_slope(x, curve)[0]
    h = curve.gate(x)
    return curve.value(x, h, out=h)


def value_and_slope(
    x: Array, curve: Curve, value: Array | None = None, slope: Array | None = None
) -> tuple[Array, Array]:
    """y = x h(x) and dy/dx, in the arrays `value` and `slope` (which may be x) or in new ones."""
    if has_kernels(x) and all(out is None or out.dtype == x.dtype for out in (value, slope)):
        (x,) = c_contiguous(x)
        y, dydx = (np.empty_like(x) if out is None else out for out in (value, slope))
        kernels.value_and_slope(x, curve.name, y, dydx)
        return y, dydx
    h = curve.gate(x)
    y = curve.value(x, h, out=value)
    dydx = h if slope is None else slope  # the slope may overwrite h, which is not needed after it
    curve.slope(x, h, y, dydx)
    return y, dydx


# --- soft cap ---------------------------------------------------------------------------------------------------------


def soft_cap_in_place(x: Array, cap: float) -> Array:
    """Turn x into cap tanh(x / cap), which stays between -cap and cap; returns the slope, 1 - tanh², a new array.

    Gemma 2 (arXiv 2408.00118). In place, because scores and logits are large.
    """
    x /= cap
    np.tanh(x, out=x)
    slope = 1 - x * x
    x *= cap
    return slope


def check_soft_cap(cap: float | None) -> float | None:
    """The cap as a Python float, because a NumPy scalar would promote float32. Raises ValueError if it is no cap."""
    if cap is None:
        return None
    if not 0 < cap < math.inf:
        raise ValueError(f"soft_cap is the bound of what it caps, a positive number, or None for no cap; got {cap}")
    return float(cap)
