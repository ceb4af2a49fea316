"""Examples for the operations that work on each element alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigrad import ops
from minigrad.gradcheck.choices import Choices, Example, call


def _any(c: Choices) -> Example:
    return call(c.array())


def _positive(c: Choices) -> Example:
    return call(c.array(low=0.3))


def _nonzero(c: Choices) -> Example:
    return call(c.nonzero())


def _two(c: Choices) -> Example:
    return call(*map(c.array, c.shapes(2)))


def _two_without_ties(c: Choices) -> Example:
    """Two inputs such that no element of one equals an element of the other."""
    x, y = c.shapes(2)
    return call(c.distinct(x), c.distinct(y, offset=0.1))


def _div(c: Choices) -> Example:
    x, y = c.shapes(2)
    return call(c.array(x), c.nonzero(y))


def _pow(c: Choices) -> Example:
    if c.flag():
        return call(c.nonzero(), y=c.pick((2, 3, -1, 1, 0, 4)))  # with a whole exponent, the base may be negative
    x, y = c.shapes(2)
    return call(c.array(x, 0.3, 2.0), c.array(y))


def _where(c: Choices) -> Example:
    condition, x, y = c.shapes(3)
    return call(c.array(x), c.array(y), condition=c.array(condition) > 0)


def _clip(c: Choices) -> Example:
    low, high = c.pick(((-0.6, 0.6), (None, 0.1), (-0.3, None)))
    return call(c.distinct(), min=low, max=high)


ELEMENTWISE: dict[str, tuple[Callable, Callable[[Choices], Example]]] = {
    "add": (ops.add, _two),
    "sub": (ops.sub, _two),
    "mul": (ops.mul, _two),
    "div": (ops.div, _div),
    "pow": (ops.pow, _pow),
    "neg": (ops.neg, _any),
    "abs": (ops.abs, _nonzero),
    "exp": (ops.exp, _any),
    "expm1": (ops.expm1, _any),
    "log": (ops.log, _positive),
    "log1p": (ops.log1p, lambda c: call(c.array(low=-0.7))),
    "sqrt": (ops.sqrt, _positive),
    "rsqrt": (ops.rsqrt, _positive),
    "sin": (ops.sin, _any),
    "cos": (ops.cos, _any),
    "tanh": (ops.tanh, _any),
    "sigmoid": (ops.sigmoid, _any),
    "erf": (ops.erf, _any),
    "relu": (ops.relu, _nonzero),
    "softplus": (ops.softplus, _any),
    "logaddexp": (ops.logaddexp, _two),
    "maximum": (ops.maximum, _two_without_ties),
    "minimum": (ops.minimum, _two_without_ties),
    "where": (lambda x, y, condition: ops.where(condition, x, y), _where),
    "clip": (ops.clip, _clip),
    "astype": (ops.astype, lambda c: call(c.array(), dtype=np.float64)),
}
