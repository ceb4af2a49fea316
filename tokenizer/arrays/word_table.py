"""A hash table of words that is asked for many words at once: bytes of a word -> where its ids are.

A word of up to 23 bytes is packed into three numbers of 64 bits, its bytes and its length, so that two words are equal
if the numbers are: nothing is left to chance. With the value they make a row of 32 bytes, half a line of a processor's
cache; the one access to memory that a known word costs is what this whole path is built around. Longer words are rare
and go to a dict.

Words that want the same place are put in the next ones (linear probing), at most PROBES of them: what finds no place is
not remembered. So nobody can make the table slow by choosing words, as each costs a bounded number of steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tokenizer.arrays.token_bytes import numbers

PACKED = 23  # bytes
PROBES = 16
WINDOWS = [np.arange(first, 2 * first) for first in (1, 2, 4, 8)]  # those that are made together, after the first
SMALLEST = 10  # bits: a table has at least 1024 rows
LENGTH_BITS = np.uint64(56)  # the highest byte of the last number is the length, so that it is never 0 for a word
MULTIPLIERS = [np.uint64(m) for m in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)]  # odd, well mixed

# MASKS[i][n]: which bits of the i-th number belong to a word of n bytes
BYTES_OF = np.minimum(np.arange(PACKED + 2), PACKED) - np.array([[0], [8], [16]])  # (3, PACKED + 2)
MASKS = np.array([[(1 << 8 * int(n)) - 1 for n in row] for row in BYTES_OF.clip(0, 8)], np.uint64)


class PackedWords(NamedTuple):
    """n words as `keys`, three arrays of (n,) uint64, and their `hashes`, (n,) uint64."""

    keys: tuple[np.ndarray, np.ndarray, np.ndarray]
    hashes: np.ndarray

    def take(self, which: np.ndarray) -> PackedWords:
        first, second, third = self.keys
        return PackedWords((first.take(which), second.take(which), third.take(which)), self.hashes.take(which))


def pack(data: bytes, starts: np.ndarray, lengths: np.ndarray) -> PackedWords:
    """The words data[start : start + length]. Those longer than PACKED are like no word that may be inserted."""
    eight = numbers(np.frombuffer(data + bytes(PACKED + 1), np.uint8)).copy()  # or each `take` would copy it
    lengths = np.minimum(lengths, PACKED + 1)
    first = eight.take(starts) & MASKS[0].take(lengths)
    second = eight.take(starts + 8) & MASKS[1].take(lengths)
    third = lengths.astype(np.uint64) << LENGTH_BITS
    long = np.flatnonzero(lengths > 16)  # few: the others are spared looking
    third[long] |= eight.take(starts.take(long) + 16) & MASKS[2].take(lengths.take(long))
    return packed(first, second, third)


def packed(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> PackedWords:
    mixed: np.ndarray = first * MULTIPLIERS[0] + second * MULTIPLIERS[1] + third * MULTIPLIERS[2]
    return PackedWords((first, second, third), (mixed ^ mixed >> np.uint64(32)) * MULTIPLIERS[0])


class WordTable:
    """`count` words, at most a third as many as `rows`, which grow with them: memory is dear when it is first
    touched.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._empty(SMALLEST)

    def _empty(self, bits: int) -> None:
        self.rows = np.empty((1 << bits, 4), np.uint64)  # the three keys, the value
        self.rows[:] = 0  # np.zeros would not ask for large pages of memory, in which random access is twice as fast
        self._shift, self._mask = np.uint64(64 - bits), (1 << bits) - 1
        self.count = 0

    def _home(self, words: PackedWords) -> np.ndarray:
        """The places that their hashes name, (n,)."""
        return (words.hashes >> self._shift).view(np.int64)

    def reserve(self, more: int) -> bool:
        """Make room for so many more words; whether words have changed their places for it."""
        bits = (3 * (self.count + more)).bit_length()
        if 1 << bits <= len(self.rows):
            return False
        rows = self.rows[self.rows[:, 2] != 0]
        rows = rows[np.argsort(rows[:, 3])[::-1]]  # of words that want one place, the last in this order gets it
        self._empty(bits)
        place, _ = self.insert(packed(*rows[:, :3].T.copy()))
        self.rows[place[place >= 0], 3] = rows[place >= 0, 3]
        return True

    def find(self, words: PackedWords) -> tuple[np.ndarray, np.ndarray]:
        """The values of all words, (n,) int64, and the indices of those that are not in the table."""
        home = self._home(words)
        rows = self.rows.take(home, axis=0)  # (n, 4)
        values = rows[:, 3].copy().view(np.int64)
        unsure = np.flatnonzero(differ(rows, words.keys))
        is_free = rows[unsure, 2] == 0
        unknown, unsure = [unsure[is_free]], unsure[~is_free]
        for probes in WINDOWS:
            if not len(unsure):
                break
            rows = self.rows.take(home.take(unsure)[:, None] + probes & self._mask, axis=0)  # (k, probes, 4)
            same = ~differ(rows, words.take(unsure[:, None]).keys)
            which, at = np.nonzero(same)
            values[unsure[which]] = rows[which, at, 3].view(np.int64)
            is_free, found = (rows[:, :, 2] == 0).any(axis=1), same.any(axis=1)
            unknown.append(unsure[is_free & ~found])
            unsure = unsure[~is_free & ~found]
        unknown.append(unsure)
        return values, np.sort(np.concatenate(unknown))

    def insert(self, words: PackedWords) -> tuple[np.ndarray, np.ndarray]:
        """Give each word a place, equal words the same one: the places, (n,), -1 where there is none; and the indices
        of the words, each once, whose places are new. Their values are to be set by `set`. Call `reserve` before.
        """
        home = self._home(words)
        place = np.full(len(home), -1)
        new = [np.empty(0, np.intp)]
        unsure = np.arange(len(place))
        for probe in range(PROBES):
            if not len(unsure):
                break
            at = home.take(unsure) + probe & self._mask
            free = np.flatnonzero(self.rows[:, 2][at] == 0)
            new.append(self._claim(words, unsure.take(free), at.take(free)))
            is_other = differ(self.rows.take(at, axis=0), words.take(unsure).keys)
            placed = np.flatnonzero(~is_other)
            place[unsure.take(placed)] = at.take(placed)
            unsure = unsure.take(np.flatnonzero(is_other))
        is_new = np.concatenate(new)
        self.count += len(is_new)
        return place, is_new

    def _claim(self, words: PackedWords, which: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Write words to free places; where several want the same one, the last has it. The indices of those."""
        values, names = self.rows[:, 3], which.view(np.uint64)
        values[at] = names
        won = np.flatnonzero(values[at] == names)
        which, at = which.take(won), at.take(won)
        for column, key in enumerate(words.take(which).keys):
            self.rows[:, column][at] = key
        return which

    def negative(self) -> tuple[np.ndarray, np.ndarray]:
        """The places of negative values, and these, (n,) int64 each."""
        values = self.rows[:, 3].view(np.int64)
        places = np.flatnonzero(values < 0)
        return places, values[places]

    def get(self, place: np.ndarray) -> np.ndarray:
        """The values at places, (n,) int64."""
        return self.rows[:, 3][place].view(np.int64)

    def set(self, place: np.ndarray, values: np.ndarray) -> None:
        """Put values, (n,) int64, at places."""
        self.rows[:, 3][place] = values.view(np.uint64)


def differ(rows: np.ndarray, keys: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    first, second, third = keys
    return (rows[..., 0] != first) | (rows[..., 1] != second) | (rows[..., 2] != third)
