"""Kernels that go through all elements of arrays in C order: activations, rotary positions, AdamW."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.cuda.compiler import start_elements


def value_and_slope(x: Any, curve: str, value: Any, slope: Any) -> None:
    """y = x h(x) into `value`, dy/dx into `slope`, which may be x; `curve` is a name in fused/activation.py."""
    start_elements(curve, x, value, slope, np.int64(x.size))


def turn(x: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    """fused/rope.py's turn of x (..., T, 2n), for cos and sin (turns, n), of which row r is for the rows r, r + turns,
    ... of x.
    """
    y, (turns, n) = np.empty_like(x), cos.shape
    start_elements("rope", x, cos, sin, y, np.int64(x.size // 2), np.int32(n), np.int32(turns), np.int32(interleaved))
    return y


def adamw(
    p: Any, g: Any, m: Any, v: Any, *, t: int, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> None:
    """optim.adamw's step `t`, in place."""
    (beta1, beta2), c1, c2 = betas, 1 - betas[0] ** t, math.sqrt(1 - betas[1] ** t)
    numbers = beta1, 1 - beta1, beta2, 1 - beta2, eps * c2, lr * c2 / c1, 1 - lr * weight_decay
    start_elements("adamw", p, g, m, v, np.int64(p.size), *map(p.dtype.type, numbers))
