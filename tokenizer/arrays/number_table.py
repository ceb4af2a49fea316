"""A hash table of numbers that is asked for many at once.

A number is looked for at the place that its hash names and, as long as another one is there, at the next places (open
addressing, linear probing).
"""

from __future__ import annotations

import numpy as np

NEVER = (1 << 31) - 1  # the value of what is not in the table
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio; Knuth, volume 3, section 6.4


class NumberTable:
    """`keys` (n,) int64, none of them negative, and their `values`, (n,) int64. Of equal keys, one is remembered."""

    def __init__(self, keys: np.ndarray, values: np.ndarray):
        bits = max(4, (3 * len(keys)).bit_length())
        self._shift, self._mask = np.uint64(64 - bits), (1 << bits) - 1
        self._entries = np.empty((1 << bits, 2), np.int64)  # key, value
        self._entries[:] = (
            -1,
            NEVER,
        )  # np.full would not ask for large pages of memory, in which random access is twice as fast
        places = self._home(keys)
        own_keys, own_values = self._entries[:, 0], self._entries[:, 1]
        while len(keys):
            free = np.flatnonzero(own_keys[places] < 0)
            own_keys[places.take(free)] = keys.take(free)  # where several want one place, the last to write has it
            has_won = own_keys[places] == keys
            won, lost = np.flatnonzero(has_won), np.flatnonzero(~has_won)
            own_values[places.take(won)] = values.take(won)
            keys, values, places = keys.take(lost), values.take(lost), places.take(lost) + 1 & self._mask

    def _home(self, keys: np.ndarray) -> np.ndarray:
        return (keys.view(np.uint64) * GOLDEN >> self._shift).view(np.int64)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The values of keys, (n,) int64; NEVER for those that are not in the table."""
        places = self._home(keys)
        found = self._entries.take(places, axis=0)  # (n, 2)
        values = found[:, 1].copy()
        unsure = np.flatnonzero((found[:, 0] != keys) & (found[:, 0] >= 0))
        while len(unsure):
            places[unsure] = places[unsure] + 1 & self._mask
            found = self._entries.take(places[unsure], axis=0)
            values[unsure] = found[:, 1]
            unsure = unsure.take(np.flatnonzero((found[:, 0] != keys.take(unsure)) & (found[:, 0] >= 0)))
        return values
