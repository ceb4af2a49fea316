"""An array of ids that grows at its end, as a list does."""

from __future__ import annotations

import numpy as np

GROWTH = 4  # generous: the system provides pages of memory only when they are first written, so the rest costs nothing


class GrowableArray:
    """The first `size` elements of `array`, (capacity,) uint32, are filled."""

    def __init__(self) -> None:
        self.array = np.empty(0, np.uint32)
        self.size = 0

    def extend(self, count: int) -> np.ndarray:
        """Add `count` elements and return them, (count,), for the caller to fill."""
        start, self.size = self.size, self.size + count
        if self.size > len(self.array):
            larger = np.empty(GROWTH * self.size, np.uint32)
            larger[:start] = self.array[:start]
            self.array = larger
        return self.array[start : self.size]

    def finish(self) -> np.ndarray:
        """The filled elements, (size,). Do not call `extend` afterwards: the memory behind them is given back."""
        self.array.resize(self.size, refcheck=False)  # in place, without a copy
        return self.array
