"""An array of ids that grows at its end."""

from __future__ import annotations

import numpy as np

GROWTH = 4  # times; memory that has never been filled is only promised by the system, and costs nothing


class GrowingIds:
    """The first `size` of `array`, (n,) uint32, are filled."""

    def __init__(self) -> None:
        self.array = np.empty(0, np.uint32)
        self.size = 0

    def extend(self, count: int) -> np.ndarray:
        """So many more, (count,), to be filled."""
        begin, self.size = self.size, self.size + count
        if self.size > len(self.array):
            larger = np.empty(GROWTH * self.size, np.uint32)
            larger[:begin] = self.array[:begin]
            self.array = larger
        return self.array[begin : self.size]

    def finish(self) -> np.ndarray:
        """All that are filled, (size,). There will be no more."""
        self.array.resize(self.size, refcheck=False)  # in place; who holds a part of it is not asked
        return self.array
