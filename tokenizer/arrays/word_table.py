"""A hash table from words (bytes) to numbers that looks up many words at once.

A word of up to 23 bytes is packed into three 64-bit numbers: its bytes and its length. Two words are equal exactly if
these numbers are equal. The three numbers and the value are a row of 32 bytes, half a cache line, so that looking up a
known word needs one access to main memory. The speed of fast/vector_encoder.py depends on that. Longer words are rare;
they are in a dict there.

If the row of a word is taken, the next rows are tried (linear probing), but at most PROBES rows altogether. A word that
finds no free row is not stored. So each word costs a bounded number of steps, and no text can make the table slow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tokenizer.arrays.token_bytes import uint64_at

MAX_PACKED_BYTES = 23
PROBES = 16
# After the first row, `find` examines rows in groups: row 1, rows 2 and 3, rows 4 to 7, rows 8 to 15.
PROBE_GROUPS = [np.arange(first, 2 * first) for first in (1, 2, 4, 8)]
MIN_BITS = 10  # a table has at least 1024 rows
LENGTH_SHIFT = np.uint64(56)  # the third number has the length as its highest byte; a row in which it is 0 is free
MULTIPLIERS = [np.uint64(m) for m in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)]  # odd, well mixed

# BYTE_MASKS[i][n]: the bits of the i-th number that belong to a word of n bytes. The last column is for longer words.
WORD_SIZES = [*range(MAX_PACKED_BYTES + 1), MAX_PACKED_BYTES]
BYTE_MASKS = np.array([[(1 << 8 * min(max(n - 8 * i, 0), 8)) - 1 for n in WORD_SIZES] for i in range(3)], np.uint64)

Keys = tuple[np.ndarray, np.ndarray, np.ndarray]


class PackedWords(NamedTuple):
    """n words as `keys`, three arrays of (n,) uint64, and their `hashes`, (n,) uint64."""

    keys: Keys
    hashes: np.ndarray

    def take(self, indices: np.ndarray) -> PackedWords:
        first, second, third = self.keys
        return PackedWords((first.take(indices), second.take(indices), third.take(indices)), self.hashes.take(indices))


def pack(data: bytes, starts: np.ndarray, lengths: np.ndarray) -> PackedWords:
    """The words data[start : start + length]. Words of more than MAX_PACKED_BYTES bytes are equal to no stored word."""
    # Copied, because `take` would copy the whole overlapping view each time.
    eight = uint64_at(np.frombuffer(data + bytes(MAX_PACKED_BYTES + 1), np.uint8)).copy()
    lengths = np.minimum(lengths, MAX_PACKED_BYTES + 1)
    first = eight.take(starts) & BYTE_MASKS[0].take(lengths)
    second = eight.take(starts + 8) & BYTE_MASKS[1].take(lengths)
    third = lengths.astype(np.uint64) << LENGTH_SHIFT
    long = np.flatnonzero(lengths > 16)  # few words have bytes in the third number
    third[long] |= eight.take(starts.take(long) + 16) & BYTE_MASKS[2].take(lengths.take(long))
    return with_hashes(first, second, third)


def with_hashes(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> PackedWords:
    mixed: np.ndarray = first * MULTIPLIERS[0] + second * MULTIPLIERS[1] + third * MULTIPLIERS[2]
    return PackedWords((first, second, third), (mixed ^ mixed >> np.uint64(32)) * MULTIPLIERS[0])


class WordTable:
    """`count` words. It grows with them, so that at most a third of the rows is filled."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._allocate(MIN_BITS)

    def _allocate(self, bits: int) -> None:
        # Filled by assignment: np.zeros would not get large pages of memory, in which random access is twice as fast.
        self.rows = np.empty((1 << bits, 4), np.uint64)  # the three keys, the value
        self.rows[:] = 0
        self._shift, self._mask = np.uint64(64 - bits), (1 << bits) - 1
        self.count = 0

    def _home(self, words: PackedWords) -> np.ndarray:
        """The row where the search for each word begins, (n,) int64."""
        return (words.hashes >> self._shift).view(np.int64)

    def reserve(self, count: int) -> bool:
        """Make room for `count` more words. Returns whether stored words have moved to other rows."""
        bits = (3 * (self.count + count)).bit_length()
        if 1 << bits <= len(self.rows):
            return False
        rows = self.rows[self.rows[:, 2] != 0]
        # Of words with the same row, `_claim` stores the last one there: by this order, the one with the lowest value.
        rows = rows[np.argsort(rows[:, 3])[::-1]]
        self._allocate(bits)
        new_row, _ = self.insert(with_hashes(*rows[:, :3].T.copy()))
        self.rows[new_row[new_row >= 0], 3] = rows[new_row >= 0, 3]
        return True

    def find(self, words: PackedWords) -> tuple[np.ndarray, np.ndarray]:
        """The values of all words, (n,) int64, and the indices of the words that are not in the table."""
        home = self._home(words)
        rows = self.rows.take(home, axis=0)  # (n, 4)
        values = rows[:, 3].copy().view(np.int64)
        unresolved = np.flatnonzero(differ(rows, words.keys))  # the first row is free or holds another word
        is_free = rows[unresolved, 2] == 0
        unknown, unresolved = [unresolved[is_free]], unresolved[~is_free]
        for probes in PROBE_GROUPS:
            if not len(unresolved):
                break
            rows = self.rows.take(home.take(unresolved)[:, None] + probes & self._mask, axis=0)  # (k, probes, 4)
            same = ~differ(rows, words.take(unresolved[:, None]).keys)
            which, probe = np.nonzero(same)
            values[unresolved[which]] = rows[which, probe, 3].view(np.int64)
            is_free, is_found = (rows[:, :, 2] == 0).any(axis=1), same.any(axis=1)
            unknown.append(unresolved[is_free & ~is_found])
            unresolved = unresolved[~is_free & ~is_found]
        unknown.append(unresolved)
        return values, np.sort(np.concatenate(unknown))

    def insert(self, words: PackedWords) -> tuple[np.ndarray, np.ndarray]:
        """Find a row for each word; equal words have the same row. Call `reserve` before it.

        Returns the rows, (n,) int64 (-1 if no row was free), and the indices of the words that were not in the table
        before, each of them once. Give these their values by `set`.
        """
        home = self._home(words)
        row = np.full(len(home), -1)
        new = [np.empty(0, np.intp)]
        unresolved = np.arange(len(row))
        for probe in range(PROBES):
            if not len(unresolved):
                break
            candidate = home.take(unresolved) + probe & self._mask
            free = np.flatnonzero(self.rows[:, 2][candidate] == 0)
            new.append(self._claim(words, unresolved.take(free), candidate.take(free)))
            is_other = differ(self.rows.take(candidate, axis=0), words.take(unresolved).keys)
            stored = np.flatnonzero(~is_other)
            row[unresolved.take(stored)] = candidate.take(stored)
            unresolved = unresolved.take(np.flatnonzero(is_other))
        new_words = np.concatenate(new)
        self.count += len(new_words)
        return row, new_words

    def _claim(self, words: PackedWords, indices: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Store words in free rows; of words with the same row, only the last one. Returns the indices of those."""
        values, marks = self.rows[:, 3], indices.view(np.uint64)
        values[rows] = marks  # each word writes its index; the last one that was written stays
        won = np.flatnonzero(values[rows] == marks)
        indices, rows = indices.take(won), rows.take(won)
        for column, key in enumerate(words.take(indices).keys):
            self.rows[:, column][rows] = key
        return indices

    def negative(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows with negative values, and these values, (n,) int64 each."""
        values = self.rows[:, 3].view(np.int64)
        rows = np.flatnonzero(values < 0)
        return rows, values[rows]

    def get(self, rows: np.ndarray) -> np.ndarray:
        """The values in `rows`, (n,) int64."""
        return self.rows[:, 3][rows].view(np.int64)

    def set(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Put `values`, (n,) int64, into `rows`."""
        self.rows[:, 3][rows] = values.view(np.uint64)


def differ(rows: np.ndarray, keys: Keys) -> np.ndarray:
    """Whether rows, (..., 4), hold other words than `keys`."""
    first, second, third = keys
    return (rows[..., 0] != first) | (rows[..., 1] != second) | (rows[..., 2] != third)
