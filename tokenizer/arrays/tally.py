"""Sums of numbers by key, for millions of keys that arrive in blocks: a Counter that keeps its numbers in arrays."""

from __future__ import annotations

import numpy as np


class Tally:
    """A table: for each key, an integer, one sum in each of `columns` columns."""

    def __init__(self, columns: int = 1):
        self._columns = columns
        # Keys, (k,), and their numbers, (k, columns). The first part is a sum; the others wait to be added to it.
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._waiting = 0  # the number of keys in the parts that wait

    def add(self, keys: np.ndarray, *columns: np.ndarray) -> None:
        """Add the numbers of each column to the sums of their keys, (n,) each. No key occurs twice in `keys`."""
        self._parts.append((keys, np.stack(columns, axis=1).astype(np.int64)))
        self._waiting += len(keys)
        # Only when the parts that wait are longer than the first one, so that each number is added up only a few times.
        if self._waiting > len(self._parts[0][0]):
            self._parts, self._waiting = [self._add_up()], 0

    def total(self) -> tuple[np.ndarray, ...]:
        """All keys in order, (k,), and their sums in each column, (k,) int64 each."""
        keys, sums = self._add_up()
        return keys, *sums.T

    def _add_up(self) -> tuple[np.ndarray, np.ndarray]:
        if not self._parts:
            return np.empty(0, np.int64), np.empty((0, self._columns), np.int64)
        keys, values = map(np.concatenate, zip(*self._parts))
        order = np.argsort(keys, kind="stable")  # this sort is fast where parts are already in order
        keys = keys[order]
        first = first_of_runs(keys)
        return keys[first], np.add.reduceat(values[order], first)


def first_of_runs(keys: np.ndarray) -> np.ndarray:
    """Where a new key begins in sorted `keys`, (n,): [3, 3, 5] gives [0, 2]."""
    return np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])  # the slice is for no keys at all
