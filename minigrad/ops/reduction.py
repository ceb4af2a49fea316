"""Reductions: sums, means and variances along axes, each with its gradient rule.

In all reductions, `axis` is a number, a tuple of numbers, or None for all axes; negative axes count from the end. With
`keepdims`, a reduced axis stays with length 1, so that the result broadcasts against the input:

    x                                   (2, 3, 4)
    x.sum()                             ()             a single number
    x.sum(axis=1)                       (2, 4)
    x.sum(axis=1, keepdims=True)        (2, 1, 4)

The gradient goes the other way. `restore_axes` makes a gradient of shape (2, 4) into one of (2, 1, 4), and broadcasting
repeats that along the reduced axis.

`sum` is NumPy's name; it hides Python's in this file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.backend import DEFAULT_FLOAT, Array, at_least_float32, in_dtype_of
from minigrad.lazy import Gradient
from minigrad.ops.arguments import Axes, as_number, as_reduction
from minigrad.ops.selection import where_in_rule
from minigrad.ops.shape import broadcast_to
from minigrad.sums import sum_array
from minigrad.tensor import Tensor, array_of, as_tensor, like, record

__all__ = ["sum", "mean", "var", "std"]

SMALL = 2048  # variances of no more elements are computed in float64

# --- sums -------------------------------------------------------------------------------------------------------------


def sum(x: Any, axis: Axes = None, *, keepdims: bool = False) -> Tensor:
    """The sum of the elements along `axis`."""
    x, (axis, keepdims) = as_tensor(x), as_reduction(axis, keepdims)
    shape = x.shape  # not `x` itself, which the rule would keep in memory
    data = sum_array(x.data, axis, keepdims=keepdims)
    # d(x_1 + ... + x_n)/dx_i = 1: every element gets the gradient of the sum in which it is a term.
    return record(data, (x,), lambda g, out: (_expand(restore_axes(g, shape, axis, keepdims=keepdims), shape),))


def mean(x: Any, axis: Axes = None, *, keepdims: bool = False) -> Tensor:
    """The arithmetic mean of the elements along `axis`."""
    x, (axis, keepdims) = as_tensor(x), as_reduction(axis, keepdims)
    data, shape = _mean_array(x.data, axis, keepdims=keepdims), x.shape
    n = _elements_per_result(x, data)

    def vjp(g: Gradient, out: None) -> tuple[Gradient]:
        # The rule of `sum`, with d(mean)/dx_i = 1 / n. In float16, an n above 65,504 would be infinite.
        return (_expand(restore_axes(at_least_float32(g) / n, shape, axis, keepdims=keepdims), shape),)

    return record(data, (x,), vjp)


def restore_axes(g: Gradient, shape: tuple[int, ...], axis: Axes, *, keepdims: bool) -> Gradient:
    """`g` with the reduced axes put back, with length 1, so that it broadcasts against the input.

    `g`: the gradient of the result of a reduction. `shape`: that of the input. `axis`, `keepdims`: as in the reduction.
    """
    if keepdims or axis is None or not shape:  # the axes are there already, or `g` is a single number
        return g
    restored = list(shape)  # the shape of the input, with 1 for each reduced axis
    for a in axis if isinstance(axis, tuple) else (axis,):
        restored[a] = 1
    return g.reshape(restored)


def _expand(g: Gradient, shape: tuple[int, ...]) -> Gradient:
    """`g` broadcast to this shape: a read-only view, no memory is filled."""
    if isinstance(g, Tensor):
        return broadcast_to(g, shape)
    if g.ndim or not isinstance(g, (np.ndarray, np.generic)):  # several numbers, or an array of CuPy
        return np.broadcast_to(g, shape)
    # A single number: np.broadcast_to would make the same view, but takes five times as long. With strides of 0, every
    # index leads to the same number in memory.
    view: np.ndarray = np.ndarray(shape, g.dtype, g, 0, (0,) * len(shape))
    view.flags.writeable = False
    return view


def _elements_per_result(x: Any, result: Array) -> int:
    """How many elements of `x` went into each element of the result."""
    return x.size // result.size if result.size else 1


def _mean_array(a: Array, axis: Axes, *, keepdims: bool) -> Array:
    """The mean of an array, as a sum and a quotient: NumPy's `mean` is written in Python and takes three times as long.

    NumPy's `mean` is used for arrays without elements. float16 is added up in float32: a sum above 65,504 would be
    infinite.
    """
    if not a.size:
        return a.mean(axis, keepdims=keepdims)
    wide = at_least_float32(a)
    total = sum_array(wide, axis, keepdims=keepdims)
    mean = total / _elements_per_result(a, total)
    return mean if wide is a else mean.astype(a.dtype)


# --- variances --------------------------------------------------------------------------------------------------------


def var(x: Any, axis: Axes = None, ddof: float = 0, *, keepdims: bool = False) -> Tensor:
    """The variance along `axis`: the squared distances from the mean, summed and divided by n - ddof.

    `ddof`: "delta degrees of freedom"; with 1 the estimate from a sample is unbiased.
    """
    x, (axis, keepdims), ddof = as_tensor(x), as_reduction(axis, keepdims), as_number(ddof, "ddof")
    data = in_dtype_of(_variance(x.data, axis, ddof, keepdims=keepdims), x)
    n = _elements_per_result(x, data) - ddof

    def vjp(g: Gradient, out: None) -> tuple[Gradient]:
        # d var / dx_i = 2 (x_i - mean) / n. The mean depends on x_i as well, but that adds nothing: it changes the
        # variance by -2 / n times the sum of all (x_j - mean), which is 0.
        centered = _centered_over_n(at_least_float32(like(g, x)), axis, n)
        return (restore_axes(g, x.shape, axis, keepdims=keepdims) * centered * 2,)

    return record(data, (x,), vjp)


def std(x: Any, axis: Axes = None, ddof: float = 0, *, keepdims: bool = False) -> Tensor:
    """The standard deviation along `axis`, the square root of `var`. Its slope is 0 where all elements are equal."""
    x, (axis, keepdims), ddof = as_tensor(x), as_reduction(axis, keepdims), as_number(ddof, "ddof")
    data = in_dtype_of(np.sqrt(_variance(x.data, axis, ddof, smallest=1e-24, keepdims=keepdims)), x)
    n = _elements_per_result(x, data) - ddof

    def vjp(g: Gradient, out: Gradient) -> tuple[Gradient]:
        # d sqrt(var) / dx_i = 1 / (2 std) d var / dx_i = (x_i - mean) / (n std). Where std is 0 that would be 0 / 0;
        # dividing by infinity instead gives the slope 0.
        divided = at_least_float32(g) / where_in_rule(array_of(out) == 0, np.inf, out)
        centered = _centered_over_n(at_least_float32(like(g, x)), axis, n)
        return (restore_axes(divided, x.shape, axis, keepdims=keepdims) * centered,)

    return record(data, (x,), vjp, keep_output=True)


def _variance(a: Array, axis: Axes, ddof: float, *, keepdims: bool, smallest: float = -1) -> Array:
    """The variance of an array, in at least float32.

    In float32, the square of 1e20 is infinite and that of 1e-23 is 0. So it is computed in float64 where such squares
    may have changed it: if it is not finite, or not above `smallest`. A small array is computed in float64 at once,
    which is faster than to look. On a GPU, looking would mean waiting, and all is float32.
    """
    wide = at_least_float32(a)
    if wide.dtype != DEFAULT_FLOAT or not isinstance(a, np.ndarray):
        return _mean_square(wide, axis, ddof, keepdims=keepdims)
    if a.size > SMALL:
        with np.errstate(over="ignore", invalid="ignore"):
            variance = _mean_square(wide, axis, ddof, keepdims=keepdims)
        if smallest < variance.min() <= variance.max() < np.inf:
            return variance
    return _mean_square(a.astype(np.float64), axis, ddof, keepdims=keepdims)


def _mean_square(a: Array, axis: Axes, ddof: float, *, keepdims: bool) -> Array:
    """The variance in the dtype of `a`. NumPy's `var`, slow like its `mean`, is used only without elements."""
    if not a.size:
        return a.var(axis, ddof=ddof, keepdims=keepdims)
    # The mean is subtracted before squaring. mean(a²) - mean(a)² would lose most digits if the mean is large.
    total = sum_array(a, axis, keepdims=True)
    n = a.size // total.size
    d = a - total / n
    squares = sum_array(d * d, axis, keepdims=keepdims)
    return squares / (n - ddof if n > ddof else 0)  # with too few elements infinity or NaN, as in NumPy


def _centered(x: Any, axis: Axes) -> Any:
    """An array or a Tensor minus its mean."""
    return x - (mean(x, axis, keepdims=True) if isinstance(x, Tensor) else _mean_array(x, axis, keepdims=True))


def _centered_over_n(x: Any, axis: Axes, n: float) -> Any:
    """(x_i - mean) / n; NaN where there are too few elements for a variance."""
    return _centered(x, axis) * (1 / n if n > 0 else math.nan)
