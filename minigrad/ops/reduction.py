"""Primitives that combine elements along axes, each with its gradient rule.

`axis` is a number, a tuple, or None for all axes; negative ones count from the end; `keepdims` leaves reduced axes in
place with length 1. `sum`, `max` and `min` are NumPy's names, and hide Python's in this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.ops.elementwise import exp, where_array
from minigrad.ops.shape import Axes, broadcast_to, concatenate, flip, reshape, transpose
from minigrad.tensor import Tensor, array_of, like, record, tensor

__all__ = [
    "sum",
    "mean",
    "var",
    "std",
    "max",
    "min",
    "argmax",
    "argmin",
    "prod",
    "cumsum",
    "logsumexp",
    "softmax",
    "log_softmax",
]


def sum(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    x = tensor(x)
    shape = x.shape
    return record(
        x.data.sum(axis, keepdims=keepdims), (x,), lambda g, out: (_spread(_keep(g, shape, axis, keepdims), shape),)
    )


def _spread(g: Any, shape: tuple[int, ...]) -> Any:
    """`g` as if it had this shape: a view, which cannot be written to."""
    if isinstance(g, Tensor):
        return broadcast_to(g, shape)
    if g.ndim or not isinstance(g, (np.ndarray, np.generic)):
        return np.broadcast_to(g, shape)
    view: np.ndarray = np.ndarray(
        shape, g.dtype, g, 0, (0,) * len(shape)
    )  # the same in a fifth of the time: one number, no steps
    view.flags.writeable = False
    return view


def _keep(g: Any, shape: tuple[int, ...], axis: Axes, keepdims: bool) -> Any:
    """What was reduced from this shape, with the reduced axes back, so that it broadcasts against what it was made
    from.
    """
    if keepdims or axis is None:
        return g
    kept = list(shape)
    for a in axis if isinstance(axis, tuple) else (axis,):
        kept[a] = 1
    return g.reshape(kept)


def mean(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    x = tensor(x)
    data, shape = _mean(x.data, axis, keepdims), x.shape
    n = _count(x, data)
    return record(data, (x,), lambda g, out: (_spread(_keep(g / n, shape, axis, keepdims), shape),))


def var(x: Any, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """Variance: squared distances from the mean, summed and divided by n - ddof."""
    x = tensor(x)
    data = _var(x.data, axis, ddof, keepdims)
    n = _count(x, data) - ddof
    return record(data, (x,), lambda g, out: (_keep(g, x.shape, axis, keepdims) * _slope(like(g, x), axis, n) * 2,))


def std(x: Any, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """Standard deviation, the root of `var`; its slope is taken as 0 where all elements are equal."""
    x = tensor(x)
    data = np.sqrt(_var(x.data, axis, ddof, keepdims))
    n = _count(x, data) - ddof

    def vjp(g: Any, out: Any) -> tuple:
        return (
            _keep(g / where_array(array_of(out) == 0, np.inf, out), x.shape, axis, keepdims)
            * _slope(like(g, x), axis, n),
        )

    return record(data, (x,), vjp, keep_output=True)


def _count(x: Any, reduced: Any) -> int:
    """How many elements of `x` went into each element of the result."""
    return x.size // reduced.size if reduced.size else 1


def _mean(a: Any, axis: Axes, keepdims: bool) -> Any:
    """Of an array, as NumPy's method has it, in a third of the time. The method is asked for half precision: it adds up
    in float32.
    """
    if not a.size or a.dtype.itemsize < 4:
        return a.mean(axis, keepdims=keepdims)
    total = a.sum(axis, keepdims=keepdims)
    return total / _count(a, total)


def _var(a: Any, axis: Axes, ddof: int, keepdims: bool) -> Any:
    """Of an array, likewise."""
    if not a.size or a.dtype.itemsize < 4:
        return a.var(axis, ddof=ddof, keepdims=keepdims)
    d = _centred(a, axis)
    total = (d * d).sum(axis, keepdims=keepdims)
    n = _count(a, total) - ddof
    return total / (n if n > 0 else 0)


def _centred(x: Any, axis: Axes) -> Any:
    """An array or a Tensor without its mean."""
    return x - (mean(x, axis, keepdims=True) if isinstance(x, Tensor) else _mean(x, axis, keepdims=True))


def _slope(x: Any, axis: Axes, n: int) -> Any:
    """Half the gradient of the variance."""
    return _centred(x, axis) * (1 / n if n > 0 else np.nan)


# --- extremes ---------------------------------------------------------------------------------------------------------


def max(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The largest; elements that tie share the gradient equally."""
    x = tensor(x)
    data = _extreme(x.data.max, "max", x, axis, keepdims)
    return record(data, (x,), lambda g, out: (_among_ties(g, x.data, array_of(out), axis, keepdims),), keep_output=True)


def min(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The smallest; elements that tie share the gradient equally."""
    x = tensor(x)
    data = _extreme(x.data.min, "min", x, axis, keepdims)
    return record(data, (x,), lambda g, out: (_among_ties(g, x.data, array_of(out), axis, keepdims),), keep_output=True)


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the first largest is: integers, without a gradient."""
    x = tensor(x)
    return Tensor(_extreme(x.data.argmax, "argmax", x, axis, keepdims))


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the first smallest is: integers, without a gradient."""
    x = tensor(x)
    return Tensor(_extreme(x.data.argmin, "argmin", x, axis, keepdims))


def _extreme(method: Any, name: str, x: Tensor, axis: Axes, keepdims: bool) -> Any:
    try:
        return method(axis, keepdims=keepdims)
    except ValueError:
        if x.size:
            raise
        raise ValueError(f"{name} of no elements does not exist: the shape is {x.shape}, axis={axis}") from None


def _among_ties(g: Any, a: Any, extreme: Any, axis: Axes, keepdims: bool) -> Any:
    chosen = a == _keep(extreme, a.shape, axis, keepdims)
    return where_array(chosen, _keep(g, a.shape, axis, keepdims) / chosen.sum(axis, keepdims=True, dtype=a.dtype), 0)


# --- products and running sums ----------------------------------------------------------------------------------------


def prod(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The product. The gradient of an element is the product of all others, so it is right with any number of zeros."""
    x = tensor(x)
    return record(
        x.data.prod(axis, keepdims=keepdims),
        (x,),
        lambda g, out: (_keep(g, x.shape, axis, keepdims) * like(g, _product_of_others(x, axis)),),
    )


def _product_of_others(x: Tensor, axis: Axes) -> Tensor:
    """For each element the product of those before it times the product of those behind it, among `axis`."""
    axes = (
        tuple(range(x.ndim))
        if axis is None
        else tuple(a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis))
    )
    last = (*(a for a in range(x.ndim) if a not in axes), *axes)
    moved = transpose(x, last)  # (..., reduced axes)
    rows = reshape(moved, (*moved.shape[: x.ndim - len(axes)], int(np.prod([x.shape[a] for a in axes], dtype=int))))
    others = _product_before(rows) * flip(_product_before(flip(rows, -1)), -1)  # (..., n)
    return transpose(reshape(others, moved.shape), np.argsort(last).tolist())


def _product_before(x: Tensor) -> Tensor:
    """Along the last axis, the product of all earlier elements, in log2(n) doublings (Hillis and Steele 1986)."""
    product, width = concatenate([np.ones_like(x.data[..., :1]), x[..., :-1]], -1), 1  # shifted by one: begins with a 1
    while width < x.shape[-1]:
        product = concatenate([product[..., :width], product[..., width:] * product[..., :-width]], -1)
        width *= 2
    return product


def cumsum(x: Any, axis: int | None = None) -> Tensor:
    """Running sums along `axis`; None: of the elements in order, flat."""
    x = tensor(x)
    data, shape, along = x.data.cumsum(axis), x.shape, axis or 0
    back = (*(slice(None),) * (along % data.ndim), slice(None, None, -1))
    return record(data, (x,), lambda g, out: (g[back].cumsum(along)[back].reshape(shape),))


# --- softmax and its logarithms: the largest element is subtracted first, a constant that changes nothing but avoids ov


def logsumexp(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))), without overflow. Where all of x is -inf (or there is none) it is -inf, with gradient 0."""
    x = tensor(x)
    _, total, top = _exponentials(x.data, axis)
    with np.errstate(divide="ignore"):
        data = np.log(total) + top

    def vjp(g: Any, out: Any) -> tuple:
        total = _keep(where_array(np.isfinite(array_of(out)), out, 0), x.shape, axis, keepdims)
        return (_keep(g, x.shape, axis, keepdims) * _exp(like(g, x) - total),)

    return record(data if keepdims else data.squeeze(axis), (x,), vjp, keep_output=True)


def softmax(x: Any, axis: Axes = -1) -> Tensor:
    """exp(x) / sum(exp(x)). Where all of x is -inf it is 0 everywhere, so that something wholly masked counts
    nothing.
    """
    x = tensor(x)
    e, total, _ = _exponentials(x.data, axis)
    e /= np.maximum(total, 1)  # the largest gives 1, so only a sum of nothing is below
    return record(e, (x,), lambda g, out: (out * (g - (g * out).sum(axis, keepdims=True)),), keep_output=True)


def log_softmax(x: Any, axis: Axes = -1) -> Tensor:
    """log(softmax(x)): x - logsumexp(x), without overflow. Where all of x is -inf it is -inf."""
    x = tensor(x)
    _, total, top = _exponentials(x.data, axis)
    data = x.data - top - np.log(np.maximum(total, 1))
    return record(data, (x,), lambda g, out: (g - _exp(out) * g.sum(axis, keepdims=True),), keep_output=True)


def _exp(a: Any) -> Any:
    """Of an array an array, of a Tensor a Tensor."""
    return exp(a) if isinstance(a, Tensor) else np.exp(a)


def _exponentials(a: Any, axis: Axes) -> tuple[Any, Any, Any]:
    """exp(a - top), their sum, and `top`, the largest element (0 where that is infinite), with the reduced axes
    kept.
    """
    top = a.max(axis, keepdims=True) if a.size else a.sum(axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    e = np.exp(a - top)
    return e, e.sum(axis, keepdims=True), top
