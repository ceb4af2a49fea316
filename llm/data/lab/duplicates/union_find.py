"""Clusters of documents: union-find, for arrays of pairs.

Each document points to one before it in its cluster, or to itself. The root is always the first in order. So which one
is kept depends neither on the order of the pairs nor on how the work was divided.
"""

from __future__ import annotations

import numpy as np


class UnionFind:
    """Clusters of the numbers 0 ... size - 1. At first each is a cluster of its own."""

    def __init__(self, size: int):
        self.parents = np.arange(size)

    def find(self, numbers: np.ndarray) -> np.ndarray:
        """The first number in the cluster of each."""
        while True:
            found = self.parents[numbers]
            if (found == numbers).all():
                return found
            self.parents[numbers] = self.parents[found]  # the next search has half the way
            numbers = found

    def find_one(self, number: int) -> int:
        return int(self.find(np.array([number]))[0])

    def join(self, a: np.ndarray, b: np.ndarray) -> None:
        """Make the cluster of a[i] and that of b[i] one, for all i."""
        while len(a):
            a, b = self.find(a), self.find(b)
            apart = a != b
            a, b = a[apart], b[apart]
            # Where a root has several new parents, only the last one is written. The others have their turn next.
            self.parents[np.maximum(a, b)] = np.minimum(a, b)

    def roots(self) -> np.ndarray:
        """For each number the first one of its cluster."""
        return self.find(np.arange(len(self.parents)))
