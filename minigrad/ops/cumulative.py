"""`cumsum`, the running sums along an axis, and `prod`, whose gradient is computed from running products."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array, at_least_float32
from minigrad.lazy import Gradient
from minigrad.ops.arguments import Axes, as_axis, as_reduction
from minigrad.ops.reduction import restore_axes
from minigrad.ops.shape import concatenate, flip, reshape, transpose
from minigrad.sums import cumsum_array
from minigrad.tensor import Tensor, as_tensor, like, record

__all__ = ["prod", "cumsum"]


def cumsum(x: Any, axis: int | None = None) -> Tensor:
    """Running sums along `axis`: x_1, x_1 + x_2, x_1 + x_2 + x_3, ... With axis None, `x` is flattened first."""
    x, axis = as_tensor(x), as_axis(axis)
    shape, along = x.shape, axis or 0
    data = cumsum_array(x.data, axis)
    # x_i is a term of the sums i, i + 1, ..., n. Its gradient is therefore the sum of g_i, ..., g_n: a running sum from
    # the other end. `reverse` is an index that turns the axis around: [:, ..., :, ::-1].
    reverse = (*(slice(None),) * (along % data.ndim), slice(None, None, -1))
    return record(data, (x,), lambda g, out: (cumsum(g[reverse], along)[reverse].reshape(shape),))


def prod(x: Any, axis: Axes = None, *, keepdims: bool = False) -> Tensor:
    """The product of the elements along `axis` (see reduction.py)."""
    x, (axis, keepdims) = as_tensor(x), as_reduction(axis, keepdims)
    wide = at_least_float32(x.data)
    data = wide.prod(axis, keepdims=keepdims)
    data = data if wide is x.data else data.astype(x.dtype)

    def vjp(g: Gradient, out: None) -> tuple[Gradient]:
        # d(x_1 ... x_n)/dx_i is the product of all others. The short formula, out / x_i, would be 0 / 0 for zeros.
        return (restore_axes(g, x.shape, axis, keepdims=keepdims) * like(g, _product_of_others(x, axis)),)

    return record(data, (x,), vjp)


def _product_of_others(x: Tensor, axis: Axes) -> Tensor:
    """For each element, the product of all other elements along `axis`, in the shape of `x`."""
    if axis is None or not x.ndim:
        axes = tuple(range(x.ndim))
    else:
        axes = tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,)))
    # Move the reduced axes to the end and join them, so that each row holds the factors of one product.
    order = (*(a for a in range(x.ndim) if a not in axes), *axes)
    moved = transpose(x, order)  # (other axes, reduced axes)
    n = int(np.prod([x.shape[a] for a in axes], dtype=int))
    rows = reshape(moved, (*moved.shape[: x.ndim - len(axes)], n))  # (other axes, n)
    # The other elements are those before it and those after it: two running products, from either end.
    before, n_before = _exclusive_cumprod(at_least_float32(rows))
    after, n_after = _exclusive_cumprod(flip(at_least_float32(rows), -1))
    others = _scale(before * flip(after, -1), n_before + np.flip(n_after, -1))  # (other axes, n)
    return transpose(reshape(others, moved.shape), np.argsort(order).tolist())


def _exclusive_cumprod(x: Tensor) -> tuple[Tensor, Array]:
    """Running products along the last axis without the element itself: 1, x_1, x_1 x_2, ...

    Each is returned as m and n, and is m 2^n. The products themselves may be too large or too small for the dtype, and
    then infinity times 0 would give NaN where the product of all others is 0.

    Takes log2(n) doublings (Hillis and Steele 1986): after k of them, each element is the product of the last 2^k.
    """
    # The row a b c d is first shifted by one position: 1 a b c. Then each element is multiplied by the element 1 place
    # before it, which gives 1 a ab bc, and then by the element 2 places before it, which gives 1 a ab abc.
    product, n = _normalize(concatenate([np.ones_like(x.data[..., :1]), x[..., :-1]], -1), 0)
    doublings, width = 0, 1
    while width < x.shape[-1]:
        product = concatenate([product[..., :width], product[..., width:] * product[..., :-width]], -1)
        n = np.concatenate([n[..., :width], n[..., width:] + n[..., :-width]], -1)
        doublings, width = doublings + 1, 2 * width
        # A product of 32 factors of at least 1/2 is at least 2^-32, and that of two such products is far above the
        # smallest float32, 2^-126. So every fifth time is often enough.
        if doublings % 5 == 0:
            product, n = _normalize(product, n)
    return product, n


def _normalize(m: Tensor, n: Any) -> tuple[Tensor, Array]:
    """m 2^n with other m and n: |m| is at least 1/2 and below 1, or m is 0, infinite or NaN."""
    shift = np.frexp(m.data)[1]
    return _scale(m, -shift), n + shift


def _scale(x: Any, n: Array) -> Tensor:
    """x 2^n for whole numbers n, which are constants."""
    x = as_tensor(x)
    return record(np.ldexp(x.data, n), (x,), lambda g, out: (_scale(g, n),))
