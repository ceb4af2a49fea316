"""Softmax, which makes probabilities of arbitrary numbers, and its logarithms; all without overflow.

exp(1000) is infinite in floating point, so the formulas as they stand fail for large inputs. But the probabilities stay
the same if a constant c is subtracted from all elements:

    exp(x_i - c) / sum_j exp(x_j - c) = exp(x_i) / sum_j exp(x_j)

With the largest element as c, the largest exponential is exp(0) = 1 and nothing overflows. Where all elements are -inf
(all keys of a query are masked, for instance), c is 0, because -inf - (-inf) would be NaN. float16 is computed in
float32: a sum above 65,504 would be infinite.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array, at_least_float32, in_dtype_of
from minigrad.lazy import Gradient
from minigrad.ops.arguments import Axes, as_axes, as_reduction
from minigrad.ops.elementwise import exp
from minigrad.ops.reduction import restore_axes
from minigrad.ops.selection import where_in_rule
from minigrad.sums import sum_array
from minigrad.tensor import Tensor, array_of, as_tensor, like, record

__all__ = ["logsumexp", "softmax", "log_softmax"]


def softmax(x: Any, axis: Axes = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`. Where all elements are -inf, the result is 0 everywhere."""
    x, axis = as_tensor(x), as_axes(axis)
    e, total, _ = _shifted_exp(x.data, axis)
    e /= np.maximum(total, 1)  # the largest element gives exp(0) = 1, so a sum below 1 is 0: all are -inf

    def vjp(g: Gradient, out: Gradient) -> tuple[Gradient]:
        # dy_i/dx_j = y_i (1 - y_j) if i = j, else -y_i y_j. So dx_j = sum_i g_i dy_i/dx_j = y_j (g_j - sum_i g_i y_i).
        g, out = at_least_float32(g), at_least_float32(out)
        return (out * (g - _sum(g * out, axis)),)

    return record(in_dtype_of(e, x), (x,), vjp, keep_output=True)


def log_softmax(x: Any, axis: Axes = -1) -> Tensor:
    """log(softmax(x)) = x - logsumexp(x) along `axis`. Where all elements are -inf, the result is -inf."""
    x, axis = as_tensor(x), as_axes(axis)
    _, total, shift = _shifted_exp(x.data, axis)
    data = x.data - shift - np.log(np.maximum(total, 1))  # a sum below 1 is 0, as in softmax

    def vjp(g: Gradient, out: Gradient) -> tuple[Gradient]:
        # d(x_i - logsumexp)/dx_j = [i = j] - softmax_j. So dx_j = g_j - softmax_j sum_i g_i.
        g, out = at_least_float32(g), at_least_float32(out)
        return (g - _exp(out) * _sum(g, axis),)

    return record(in_dtype_of(data, x), (x,), vjp, keep_output=True)


def logsumexp(x: Any, axis: Axes = None, *, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) along `axis`. Where all elements are -inf, or there are none, it is -inf, with gradient 0."""
    x, (axis, keepdims) = as_tensor(x), as_reduction(axis, keepdims)
    with np.errstate(divide="ignore", invalid="ignore"):  # log(0) = -inf is wanted, and inf - inf is replaced below
        _, total, shift = _shifted_exp(x.data, axis)
        data = np.where(shift == np.inf, shift, np.log(total) + shift)

    def vjp(g: Gradient, out: Gradient) -> tuple[Gradient]:
        # d logsumexp / dx_j = exp(x_j) / sum_i exp(x_i) = exp(x_j - out). Where `out` is -inf, it is replaced by 0:
        # then exp(x_j - 0) is exp(-inf) = 0, where exp(-inf - (-inf)) would be NaN.
        out = where_in_rule(array_of(out) == -np.inf, 0, at_least_float32(out))
        out = restore_axes(out, x.shape, axis, keepdims=keepdims)
        return (restore_axes(g, x.shape, axis, keepdims=keepdims) * _exp(at_least_float32(like(g, x)) - out),)

    return record(in_dtype_of(data if keepdims else data.squeeze(axis), x), (x,), vjp, keep_output=True)


def _exp(x: Gradient) -> Gradient:
    """exp for gradient rules: an array of an array, a Tensor of a Tensor."""
    return exp(x) if isinstance(x, Tensor) else np.exp(x)


def _sum(x: Gradient, axis: Axes) -> Gradient:
    """The sum along `axis`, which stays with length 1: an array of an array, a Tensor of a Tensor."""
    return x.sum(axis, keepdims=True) if isinstance(x, Tensor) else sum_array(x, axis, keepdims=True)


def _shifted_exp(a: Array, axis: Axes) -> tuple[Array, Array, Array]:
    """exp(a - shift), its sum along `axis`, and `shift`, the largest element (0 where that is -inf).

    The sum and the shift have the reduced axes with length 1. Where the largest element is infinite or NaN, the sum is
    NaN.
    """
    a = at_least_float32(a)
    shift = a.max(axis, keepdims=True) if a.size else a.sum(axis, keepdims=True)  # no elements: the sum is 0
    shift = np.where(shift == -np.inf, 0, shift)
    e = np.exp(a - shift)
    return e, sum_array(e, axis, keepdims=True), shift
