"""Lazy gradients: they are computed only when it is known where to store them.

The gradient of a weight matrix is a large matrix product. Computed at once, it would be a new array, which is then
copied to the place where the optimizer wants it. A gradient rule can return a `LazyGradient` instead: the engine tells
it the destination, and the product is written there directly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.backend import Array, array_module

Gradient = Any  # what a rule may return for one input: an array, a Tensor, a LazyGradient, or None for no gradient


class LazyGradient:
    """A gradient as a recipe: `fill(out)` sets all elements of the array `out`, `add(out)` adds to them.

    One of the two is enough. `add` is for gradients that are zero nearly everywhere, such as that of `x[3]`. `out` is
    in C order. Dtype and device are those of the array `like`; so is the shape, unless `shape` is given.
    """

    __slots__ = ("like", "fill", "add", "shape")

    def __init__(
        self,
        like: Array,
        fill: Callable[[Array], object] | None = None,
        *,
        add: Callable[[Array], object] | None = None,
        shape: tuple[int, ...] | None = None,
    ):
        self.like, self.fill, self.add = like, fill, add
        self.shape = like.shape if shape is None else shape

    def store(self, out: Array) -> None:
        """Set `out` to the gradient."""
        if self.fill is not None:
            self.fill(out)
        else:  # `add` needs zeros to add to
            out[...] = 0
            self.accumulate_into(out)

    def accumulate_into(self, out: Array) -> None:
        """Add the gradient to `out`."""
        if self.add is not None:
            self.add(out)
        else:  # this takes a second array of the same size
            out += self.materialize()

    def materialize(self) -> Array:
        """The gradient as a new array."""
        out = array_module(self.like).empty(self.shape, self.like.dtype)
        self.store(out)
        return out


# The same three methods as functions, for a gradient that may be a LazyGradient or an array. `type(...) is` is faster
# than isinstance, and the engine calls these for every gradient.


def materialize(gradient: Gradient) -> Gradient:
    """A LazyGradient as an array; an array or a Tensor as it is."""
    return gradient.materialize() if type(gradient) is LazyGradient else gradient


def store(gradient: Gradient, out: Array) -> None:
    """Set the array `out` to the gradient."""
    if type(gradient) is LazyGradient:
        gradient.store(out)
    else:
        out[...] = gradient


def accumulate_into(gradient: Gradient, out: Array) -> None:
    """Add the gradient to the array `out`."""
    if type(gradient) is LazyGradient:
        gradient.accumulate_into(out)
    else:
        out += gradient
