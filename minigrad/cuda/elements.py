"""Kernels that go through all elements of arrays in C order: activations, rotary positions."""

from __future__ import annotations

import numpy as np

from minigrad.backend import Array
from minigrad.cuda.compiler import launch_elements


def value_and_slope(x: Array, curve: str, value: Array, slope: Array) -> None:
    """y = x h(x) into `value` and dy/dx into `slope`, which may be x itself.

    `curve`: "gelu", "gelu_tanh", "silu", "relu" or "relu_squared"; the formulas are in fused/curves.py.
    """
    launch_elements(curve, x, value, slope, np.int64(x.size))


def slope_times(dy: Array, x: Array, curve: str) -> Array:
    """dx = dy times the slope at x: a new array. Curves as above."""
    dx = np.empty_like(x)
    launch_elements(f"{curve}_gradient", x, dy, dx, np.int64(x.size))
    return dx


def rotate(x: Array, cos: Array, sin: Array, *, interleaved: bool) -> Array:
    """The pairs of features of x (..., T, 2n) rotated as in fused/rope.py, by angles with cos and sin (A, n).

    Row r of x, counted over all leading axes, takes row r % A of the angles.
    """
    y, (angles, n) = np.empty_like(x), cos.shape
    pairs = np.int64(x.size // 2)
    launch_elements("rope", x, cos, sin, y, pairs, np.int32(n), np.int32(angles), np.int32(interleaved))
    return y
