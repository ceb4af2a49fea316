"""How an example for a function is made up: shapes, axes and arrays, all of them from one source of whole numbers.

`Choices(seed)` draws these from a seeded generator; a test may override `integer` with a draw of hypothesis, and gets
examples that hypothesis can shrink.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

SIZES = (2, 1, 3, 4, 2, 3, 5, 3, 2, 4, 3, 0)  # of an axis; now and then it is empty


class Example(NamedTuple):
    """What to call a function with: float64 arrays to differentiate by, and all the rest by name."""

    inputs: tuple[np.ndarray, ...]
    options: dict[str, Any]


def call(*inputs: np.ndarray, **options: Any) -> Example:
    return Example(inputs, options)


class Choices:
    """A source of examples; the same `seed` makes the same choices."""

    def __init__(self, seed: int = 0):
        self._rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included; everything else here is made from it."""
        return int(self._rng.integers(low, high + 1))

    def pick(self, options: Sequence) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def flag(self) -> bool:
        return self.integer(0, 1) == 1

    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.integer(0, 2**32 - 1))

    # ---- shapes and axes ----

    def shape(self, low: int = 0, high: int = 3, least: int = 0) -> tuple[int, ...]:
        """A shape of `low` to `high` axes, none shorter than `least`."""
        return tuple(max(least, self.pick(SIZES)) for _ in range(self.integer(low, high)))

    def broadcastable(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A shape that broadcasts to `shape`: some axes 1, some leading axes missing."""
        kept = shape[self.pick((0, 0, self.integer(0, len(shape)))) :]
        return tuple(1 if self.integer(0, 3) == 3 else n for n in kept)

    def shapes(self, count: int) -> list[tuple[int, ...]]:
        """Shapes that broadcast together."""
        shape = self.shape()
        return [self.broadcastable(shape) for _ in range(count)]

    def axis(self, ndim: int) -> int:
        return self.integer(-ndim, ndim - 1)

    def axes(self, ndim: int) -> int | tuple[int, ...] | None:
        """What a reduction may be given: None, one axis, or several."""
        if ndim == 0 or self.integer(0, 3) == 0:
            return None
        if self.flag():
            return self.axis(ndim)
        order = self.generator().permutation(ndim)[: self.integer(0, ndim)]
        return tuple(int(k) - ndim * self.integer(0, 1) for k in order)

    def reduction(self, ndim: int) -> dict[str, Any]:
        return {"axis": self.axes(ndim), "keepdims": self.flag()}

    # ---- arrays ----

    def array(self, shape: tuple[int, ...] | None = None, low: float = -2.0, high: float = 2.0) -> np.ndarray:
        """Numbers between `low` and `high`."""
        return self._laid_out(self.generator().uniform(low, high, self.shape() if shape is None else shape))

    def nonzero(self, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Numbers of either sign, 0.3 to 2 in size: for functions with a kink or a pole at 0."""
        rng = self.generator()
        shape = self.shape() if shape is None else shape
        return self._laid_out(rng.uniform(0.3, 2.0, shape) * rng.choice((-1.0, 1.0), shape))

    def distinct(self, shape: tuple[int, ...] | None = None, offset: float = 0.0) -> np.ndarray:
        """Numbers on a grid of 0.25 (shifted by `offset`), no two equal: for functions with a kink where values
        meet.
        """
        shape = self.shape() if shape is None else shape
        n = prod(shape)
        return self._laid_out((self.generator().permutation(n) - n // 2).reshape(shape) * 0.25 + offset)

    def indices(self, shape: tuple[int, ...], size: int) -> np.ndarray:
        """Positions along an axis of `size`, counted from either end."""
        return self.generator().integers(-size, size, shape)

    def _laid_out(self, values: np.ndarray) -> np.ndarray:
        """The same values in memory one way or another: as they come, transposed, every second, backwards."""
        values = np.asarray(values)
        way = self.integer(0, 5) if values.ndim else 0
        if way == 3:
            return np.asfortranarray(values)
        if way == 4:
            spaced = np.full((*values.shape[:-1], 2 * values.shape[-1]), np.nan)
            spaced[..., ::2] = values
            return spaced[..., ::2]
        if way == 5:
            return values[::-1].copy()[::-1]
        return values
