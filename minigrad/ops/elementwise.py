"""Primitives that work element by element. Each is its value and, beside it, its gradient rule, written in primitives.

Inputs broadcast as in NumPy; the engine sums a gradient back to its parent's shape. A rule that needs the result takes it as `out`.
Where a function has a kink the rule states which slope is taken there.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.tensor import Tensor, operands, record, tensor


def add(x: Any, y: Any) -> Tensor:
    x, y = operands(x, y)
    return record(x.data + y.data, (x, y), lambda g, out: (g, g))


def mul(x: Any, y: Any) -> Tensor:
    x, y = operands(x, y)
    return record(x.data * y.data, (x, y), lambda g, out: (x.requires_grad and g * y, y.requires_grad and g * x))


def exp(x: Any) -> Tensor:
    x = tensor(x)
    return record(np.exp(x.data), (x,), lambda g, out: (g * out,), keep_output=True)
