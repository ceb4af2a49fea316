"""A hash table from integers to integers that looks up whole arrays at once.

The search for a key begins at the row that its hash says. If another key is there, the search continues with the next
row, and so on (open addressing with linear probing). The table is filled once.

word_table.py does the same for words. It grows, has longer rows, and limits the number of steps, because its keys come
from texts.
"""

from __future__ import annotations

import numpy as np

NOT_FOUND = (1 << 31) - 1  # the value of a key that is not in the table
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio; Knuth, volume 3, section 6.4


class NumberTable:
    """`keys`, (n,) int64, are not negative. `values` are (n,) int64. Of equal keys, only one is stored."""

    def __init__(self, keys: np.ndarray, values: np.ndarray):
        bits = max(4, (3 * len(keys)).bit_length())  # at most a third of the rows is filled
        self._shift, self._mask = np.uint64(64 - bits), (1 << bits) - 1
        # Filled by assignment: np.full would not get large pages of memory, in which random access is twice as fast.
        self._rows = np.empty((1 << bits, 2), np.int64)  # key, value
        self._rows[:] = -1, NOT_FOUND
        self._insert(keys, values)

    def _insert(self, keys: np.ndarray, values: np.ndarray) -> None:
        row = self._home(keys)
        row_keys, row_values = self._rows[:, 0], self._rows[:, 1]
        while len(keys):
            free = np.flatnonzero(row_keys[row] < 0)
            # Several keys may be written to the same row. The last one stays; the others try the next row.
            row_keys[row.take(free)] = keys.take(free)
            has_row = row_keys[row] == keys
            stored, others = np.flatnonzero(has_row), np.flatnonzero(~has_row)
            row_values[row.take(stored)] = values.take(stored)
            keys, values, row = keys.take(others), values.take(others), row.take(others) + 1 & self._mask

    def _home(self, keys: np.ndarray) -> np.ndarray:
        """The row where the search for each key begins, (n,) int64."""
        return (keys.view(np.uint64) * GOLDEN >> self._shift).view(np.int64)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The values of keys, (n,) int64; NOT_FOUND for those that are not in the table."""
        row = self._home(keys)
        found = self._rows.take(row, axis=0)  # (n, 2)
        values = found[:, 1].copy()
        unresolved = np.flatnonzero((found[:, 0] != keys) & (found[:, 0] >= 0))  # another key is in that row
        while len(unresolved):
            row[unresolved] = row[unresolved] + 1 & self._mask
            found = self._rows.take(row[unresolved], axis=0)
            values[unresolved] = found[:, 1]
            unresolved = unresolved.take(np.flatnonzero((found[:, 0] != keys.take(unresolved)) & (found[:, 0] >= 0)))
        return values
