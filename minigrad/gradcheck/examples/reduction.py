"""Examples for reductions over axes, and for softmax and running sums along one axis."""

from __future__ import annotations

from collections.abc import Callable

from minigrad import ops
from minigrad.gradcheck.choices import Choices, Example, call


def _reduction(c: Choices, *, min_length: int = 0) -> Example:
    x = c.array(c.shape(min_length=min_length))
    return call(x, **c.reduction(x.ndim))


def _nonempty(c: Choices) -> Example:
    return _reduction(c, min_length=1)


def _extremum(c: Choices) -> Example:
    x = c.distinct(c.shape(min_length=1))
    return call(x, **c.reduction(x.ndim))


def _prod(c: Choices) -> Example:
    x = c.array()
    if x.size and c.flag():
        x.flat[c.integer(0, x.size - 1)] = 0.0  # the derivative is the product of the others, also at 0
    return call(x, **c.reduction(x.ndim))


def _variance(c: Choices) -> Example:
    """At least three different numbers along each axis; ddof is 0 or 1."""
    x = c.distinct(c.shape(1, min_length=3))
    axis = c.pick((None, c.axis(x.ndim), tuple(range(x.ndim))))
    return call(x, ddof=c.integer(0, 1), axis=axis, keepdims=c.flag())


def _along_axis(c: Choices) -> Example:
    x = c.array(c.shape(1, min_length=1))
    return call(x, axis=c.axis(x.ndim))


def _cumsum(c: Choices) -> Example:
    x = c.array()
    return call(x, axis=c.pick((None, c.axis(x.ndim))) if x.ndim else None)


REDUCTIONS: dict[str, tuple[Callable, Callable[[Choices], Example]]] = {
    "sum": (ops.sum, _reduction),
    "mean": (ops.mean, _nonempty),
    "max": (ops.max, _extremum),
    "min": (ops.min, _extremum),
    "prod": (ops.prod, _prod),
    "var": (ops.var, _variance),
    "std": (ops.std, _variance),
    "logsumexp": (ops.logsumexp, _nonempty),
    "softmax": (ops.softmax, _along_axis),
    "log_softmax": (ops.log_softmax, _along_axis),
    "cumsum": (ops.cumsum, _cumsum),
}
