"""The largest and the smallest elements along axes, and where they are.

`max` and `min` are NumPy's names; they hide Python's in this file. For `axis` and `keepdims` see reduction.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.backend import Array, at_least_float32
from minigrad.lazy import Gradient
from minigrad.ops.arguments import Axes, as_axis, as_reduction
from minigrad.ops.reduction import restore_axes
from minigrad.ops.selection import where_in_rule
from minigrad.tensor import Tensor, array_of, as_tensor, record

__all__ = ["max", "min", "argmax", "argmin"]


def max(x: Any, axis: Axes = None, *, keepdims: bool = False) -> Tensor:
    """The largest element along `axis`. Elements that tie share the gradient equally."""
    x, (axis, keepdims) = as_tensor(x), as_reduction(axis, keepdims)
    data = _reduce(x.data.max, "max", x, axis, keepdims=keepdims)

    def vjp(g: Gradient, out: Gradient) -> tuple[Gradient]:
        # d max(x) / dx_i is 1 for the largest element and 0 for the others, which could change a little without effect.
        return (_extreme_gradient(g, x.data, array_of(out), axis, keepdims=keepdims),)

    return record(data, (x,), vjp, keep_output=True)


def min(x: Any, axis: Axes = None, *, keepdims: bool = False) -> Tensor:
    """The smallest element along `axis`. Elements that tie share the gradient equally."""
    x, (axis, keepdims) = as_tensor(x), as_reduction(axis, keepdims)
    data = _reduce(x.data.min, "min", x, axis, keepdims=keepdims)

    def vjp(g: Gradient, out: Gradient) -> tuple[Gradient]:
        # As for `max`: the slope is 1 for the smallest element and 0 for the others.
        return (_extreme_gradient(g, x.data, array_of(out), axis, keepdims=keepdims),)

    return record(data, (x,), vjp, keep_output=True)


def _extreme_gradient(g: Gradient, a: Array, extreme: Array, axis: Axes, *, keepdims: bool) -> Gradient:
    """The gradient of the input `a`: `g` where an element equals the maximum (or minimum), 0 elsewhere.

    Where k elements tie, each gets g / k, so that the whole gradient is still `g`. Where the maximum is NaN, all get
    NaN.
    """
    # The result tells which elements were the largest; no indices need to be saved.
    chosen = a == restore_axes(extreme, a.shape, axis, keepdims=keepdims)
    # How many tie for each result. The quotient is not computed in float16, where a count above 65,504 is infinite.
    g = restore_axes(at_least_float32(g), a.shape, axis, keepdims=keepdims)
    ties = chosen.sum(axis, keepdims=True).astype(g.dtype)
    # NaN equals nothing, not even NaN. So where the maximum is NaN, no element is chosen.
    others = np.where(ties == 0, ties.dtype.type(np.nan), 0)
    return where_in_rule(chosen, g / np.maximum(ties, 1), others)


# An index is an integer, and a small change of `x` does not change it. So these two have no gradient.


def argmax(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """The index of the first largest element along `axis`, or among all: integers, without a gradient."""
    x, (one_axis, keepdims) = as_tensor(x), as_reduction(as_axis(axis), keepdims)
    return Tensor(_reduce(x.data.argmax, "argmax", x, one_axis, keepdims=keepdims))


def argmin(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """The index of the first smallest element along `axis`, or among all: integers, without a gradient."""
    x, (one_axis, keepdims) = as_tensor(x), as_reduction(as_axis(axis), keepdims)
    return Tensor(_reduce(x.data.argmin, "argmin", x, one_axis, keepdims=keepdims))


def _reduce(method: Callable[..., Array], name: str, x: Tensor, axis: Axes, *, keepdims: bool) -> Array:
    """Call the method of the array. If there are no elements, raise ValueError with a clearer message than NumPy's."""
    try:
        return method(axis, keepdims=keepdims)
    except ValueError:
        if x.size:  # another mistake, such as a wrong axis
            raise
        raise ValueError(f"{name} of no elements does not exist: the shape is {x.shape}, axis={axis}") from None
