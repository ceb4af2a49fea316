"""Kernels that go through all elements of arrays in C order: activations, rotary positions, AdamW."""

from __future__ import annotations

import math

import numpy as np

from minigrad.backend import Array
from minigrad.cuda.compiler import launch_elements


def value_and_slope(x: Array, curve: str, value: Array, slope: Array) -> None:
    """y = x h(x) into `value` and dy/dx into `slope`, which may be x itself.

    `curve`: "gelu", "gelu_tanh", "silu", "relu" or "relu_squared"; the formulas are in fused/curves.py.
    """
    launch_elements(curve, x, value, slope, np.int64(x.size))


def rotate(x: Array, cos: Array, sin: Array, *, interleaved: bool) -> Array:
    """The pairs of features of x (..., T, 2n) rotated as in fused/rope.py, by angles with cos and sin (A, n).

    Row r of x, counted over all leading axes, takes row r % A of the angles.
    """
    y, (angles, n) = np.empty_like(x), cos.shape
    pairs = np.int64(x.size // 2)
    launch_elements("rope", x, cos, sin, y, pairs, np.int32(n), np.int32(angles), np.int32(interleaved))
    return y


def adamw(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    t: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """Step `t` of AdamW, in place: parameters p, gradients g, first and second moments m and v; see optim/adamw.py."""
    beta1, beta2 = betas
    correction1, correction2 = 1 - beta1**t, math.sqrt(1 - beta2**t)
    # p -= lr (m / correction1) / (√v / correction2 + eps), with numerator and denominator times correction2
    rate, decay = lr * correction2 / correction1, 1 - lr * weight_decay
    numbers = beta1, 1 - beta1, beta2, 1 - beta2, eps * correction2, rate, decay
    launch_elements("adamw", p, g, m, v, np.int64(p.size), *map(p.dtype.type, numbers))
