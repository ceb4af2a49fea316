"""Products of matrices: `matmul` in every combination of ranks, and `einsum`. The rules are products of matrices
again.
"""

from __future__ import annotations

import math
import string
from collections import Counter
from typing import Any

import numpy as np

from minigrad.lazy import Gradient
from minigrad.ops.shape import broadcast_to, expand_dims
from minigrad.tensor import Tensor, like, record, tensor

__all__ = ["matmul", "einsum"]


def matmul(x: Any, y: Any) -> Tensor:
    """x @ y: (..., m, k) @ (..., k, n) -> (..., m, n), where `...` broadcasts; either may be a vector (k,)."""
    x, y = tensor(x), tensor(y)
    try:
        data = x.data @ y.data
    except ValueError:
        raise ValueError(_misfit(x, y)) from None
    x_ndim, y_ndim = x.data.ndim, y.data.ndim
    # The gradient of x needs y, and that of y needs x. Each is saved only if it will be asked for.
    saved_x, saved_y = x if y.requires_grad else None, y if x.requires_grad else None

    def vjp(g: Gradient, out: None) -> tuple:
        dx = None if saved_y is None else _left(g, like(g, saved_y), x_ndim)
        dy = None if saved_x is None else _right(g, like(g, saved_x), y_ndim)
        return dx, dy

    return record(data, (x, y), vjp)


def _left(g: Gradient, y: Any, x_ndim: int) -> Any:
    """The gradient of x: g y^T."""
    if y.ndim == 1:
        return g[..., None] * y  # (..., m, k)
    if x_ndim == 1:
        return (y @ g[..., None])[..., 0]  # (..., k)
    return g @ y.swapaxes(-1, -2)


def _right(g: Gradient, x: Any, y_ndim: int) -> Any:
    """The gradient of y: x^T g."""
    if y_ndim == 1:
        return (g if g.ndim == 1 else g.reshape(-1)) @ _rows(x)  # (k,): sums over the batch on its way
    if x.ndim == 1:
        return x[:, None] * g[..., None, :]  # (..., k, n)
    if y_ndim == 2:
        return _rows(x).swapaxes(0, 1) @ _rows(g)  # one large product sums over the batch on its way
    return x.swapaxes(-1, -2) @ g


def _rows(x: Any) -> Any:
    """(..., k) as (rows, k)."""
    return x if x.ndim == 2 else x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


def _misfit(x: Tensor, y: Tensor) -> str:
    """What is wrong with the shapes, in one sentence."""
    if x.ndim == 0 or y.ndim == 0:
        return f"matmul of {x.shape} and {y.shape}: each needs at least one axis; multiply by a number with *"
    inner = y.shape[-2:][0]
    if x.shape[-1] != inner:
        place = "last but one" if y.ndim > 1 else "only"
        return (
            f"matmul of {x.shape} and {y.shape}: the last axis of the first ({x.shape[-1]}) must equal the {place} "
            "axis of the second "
            f"({inner})"
        )
    return f"matmul of {x.shape} and {y.shape}: the axes before the last two must be equal or 1, to broadcast"


def einsum(subscripts: str, *tensors: Any) -> Tensor:
    """Sums of products in Einstein's notation, such as "bij,bjk->bik"; `...` and a left-out result work as in NumPy.

    A letter may not appear twice in one input (a diagonal): take the diagonal by indexing first.
    """
    xs = [tensor(x) for x in tensors]
    inputs, output = _letters(subscripts, [x.ndim for x in xs])
    try:
        data = np.einsum(f"{','.join(inputs)}->{output}", *[x.data for x in xs], optimize=True)
    except ValueError as error:
        raise ValueError(
            f"einsum {subscripts!r} of shapes {', '.join(str(x.shape) for x in xs)} does not work: {error}"
        ) from None

    def vjp(g: Gradient, out: None) -> list:
        return [_einsum_gradient(g, i, xs, inputs, output) if x.requires_grad else None for i, x in enumerate(xs)]

    return record(data, xs, vjp)


def _einsum_gradient(g: Tensor, i: int, xs: list[Tensor], inputs: list[str], output: str) -> Tensor:
    """The gradient of input i: the einsum of `g` with all others; along a letter that only input i has, it is the same
    everywhere.
    """
    x, mine, others = xs[i], inputs[i], [output, *inputs[:i], *inputs[i + 1 :]]
    elsewhere = set().union(*others)
    dx = einsum(f"{','.join(others)}->{''.join(c for c in mine if c in elsewhere)}", g, *xs[:i], *xs[i + 1 :])
    dx = expand_dims(dx, tuple(axis for axis, c in enumerate(mine) if c not in elsewhere))
    return broadcast_to(dx, np.broadcast_shapes(dx.shape, x.shape))


def _letters(subscripts: str, ndims: list[int]) -> tuple[list[str], str]:
    """The letters of each input and of the result, with letters of their own for what `...` stands for."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ndims):
        raise ValueError(f"einsum {subscripts!r} speaks of {len(inputs)} inputs, but got {len(ndims)}")
    hidden = [ndim - len(s) + 3 if "..." in s else 0 for s, ndim in zip(inputs, ndims)]
    fresh = "".join(c for c in string.ascii_letters if c not in subscripts)[: max(hidden)]
    if not arrow:
        once = [c for c, n in Counter(left).items() if n == 1 and c.isalpha()]
        output = "..." + "".join(sorted(once))
    inputs = [s.replace("...", fresh[len(fresh) - n :]) for s, n in zip(inputs, hidden)]
    for s in inputs:
        if len(set(s)) < len(s):
            raise ValueError(
                f"einsum {subscripts!r} names a letter twice in one input; take the diagonal by indexing first"
            )
    return inputs, output.replace("...", fresh)
