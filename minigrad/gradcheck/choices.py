"""`Choices`, the source of examples: it chooses shapes, axes, values and memory layouts of arrays at random.

Every choice is made from whole numbers. `Choices(seed)` draws them from a seeded generator. The tests override
`integer` with a draw of hypothesis, which can then shrink an example that fails to a simple one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

LENGTHS = (2, 1, 3, 4, 2, 3, 5, 3, 2, 4, 3, 0)  # of an axis; one axis in twelve is empty

Shape = tuple[int, ...]


class Example(NamedTuple):
    """The arguments of a call: float64 arrays, for which gradients are checked, and all other arguments by name."""

    inputs: tuple[np.ndarray, ...]
    options: dict[str, Any]


def call(*inputs: np.ndarray, **options: Any) -> Example:
    """The Example of a call that is written `f(*inputs, **options)`."""
    return Example(inputs, options)


class Choices:
    """A source of examples. The same `seed` makes the same choices."""

    def __init__(self, seed: int = 0):
        self._rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included. All other choices are made from it."""
        return int(self._rng.integers(low, high + 1))

    def pick(self, options: Sequence) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def flag(self) -> bool:
        return self.integer(0, 1) == 1

    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.integer(0, 2**32 - 1))

    # --- shapes and axes ----------------------------------------------------------------------------------------------

    def shape(self, min_axes: int = 0, max_axes: int = 3, *, min_length: int = 0) -> Shape:
        """A shape of `min_axes` to `max_axes` axes, none of them shorter than `min_length`."""
        return tuple(max(min_length, self.pick(LENGTHS)) for _ in range(self.integer(min_axes, max_axes)))

    def broadcastable(self, shape: Shape) -> Shape:
        """A shape that broadcasts to `shape`: some axes have length 1, some leading axes are missing."""
        trailing = shape[self.pick((0, 0, self.integer(0, len(shape)))) :]
        return tuple(1 if self.integer(0, 3) == 3 else n for n in trailing)

    def shapes(self, count: int) -> list[Shape]:
        """Shapes that broadcast together."""
        shape = self.shape()
        return [self.broadcastable(shape) for _ in range(count)]

    def axis(self, ndim: int) -> int:
        return self.integer(-ndim, ndim - 1)

    def axes(self, ndim: int) -> int | tuple[int, ...] | None:
        """The argument `axis` of a reduction: None, one axis, or several."""
        if ndim == 0 or self.integer(0, 3) == 0:
            return None
        if self.flag():
            return self.axis(ndim)
        order = self.generator().permutation(ndim)[: self.integer(0, ndim)]
        return tuple(int(axis) - ndim * self.integer(0, 1) for axis in order)

    def reduction(self, ndim: int) -> dict[str, Any]:
        """The options of a reduction."""
        return {"axis": self.axes(ndim), "keepdims": self.flag()}

    # --- arrays -------------------------------------------------------------------------------------------------------

    def array(self, shape: Shape | None = None, low: float = -2.0, high: float = 2.0) -> np.ndarray:
        """Numbers between `low` and `high`."""
        return self._in_some_layout(self.generator().uniform(low, high, self.shape() if shape is None else shape))

    def nonzero(self, shape: Shape | None = None) -> np.ndarray:
        """Numbers of either sign with absolute values from 0.3 to 2: for functions with a kink or a pole at 0."""
        rng = self.generator()
        shape = self.shape() if shape is None else shape
        return self._in_some_layout(rng.uniform(0.3, 2.0, shape) * rng.choice((-1.0, 1.0), shape))

    def distinct(self, shape: Shape | None = None, *, offset: float = 0.0) -> np.ndarray:
        """Multiples of 0.25 plus `offset`, no two equal: for functions with a kink where two elements are equal."""
        shape = self.shape() if shape is None else shape
        n = prod(shape)
        return self._in_some_layout((self.generator().permutation(n) - n // 2).reshape(shape) * 0.25 + offset)

    def indices(self, shape: Shape, length: int) -> np.ndarray:
        """Positions along an axis of this length, counted from its start or from its end."""
        return self.generator().integers(-length, length, shape)

    def _in_some_layout(self, values: np.ndarray) -> np.ndarray:
        """The same values with other strides: as they are (in half of the cases), transposed, with gaps, backwards."""
        values = np.asarray(values)
        layout = self.integer(0, 5) if values.ndim else 0
        if layout == 3:
            return np.asfortranarray(values)
        if layout == 4:
            with_gaps = np.full((*values.shape[:-1], 2 * values.shape[-1]), np.nan)
            with_gaps[..., ::2] = values
            return with_gaps[..., ::2]
        if layout == 5:
            return values[::-1].copy()[::-1]
        return values
