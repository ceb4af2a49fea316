"""Which of many strings are tokens: a table that is asked for all of them at once.

A string is looked up by its hash, the value of a polynomial whose coefficients are its bytes. (Karp and Rabin 1987,
"Efficient randomized pattern-matching algorithms".) What has the same hash is then compared, so that nothing is left to
chance.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from tokenizer.arrays.number_table import NEVER, NumberTable
from tokenizer.arrays.token_bytes import HEAD, numbers
from tokenizer.arrays.word_table import MASKS

BASE = np.uint64(0x2545F4914F6CDD1D)  # odd, well mixed
POSITIVE = np.uint64((1 << 63) - 1)
LONGEST = 32  # bytes; longer strings are looked up one by one


class Strings:
    """n strings and their bytes, one string after the other. `so_far` (bytes,) says what the hash of a string is up to
    and with each byte, and `hashes` (n,) that of the whole.
    """

    def __init__(self, strings: Collection[bytes]):
        """None of them is empty."""
        self.lengths = np.fromiter(map(len, strings), np.int64, len(strings))
        self.ends = np.cumsum(self.lengths)
        self.starts = self.ends - self.lengths
        self.data = np.frombuffer(b"".join(strings) + bytes(HEAD), np.uint8)
        self.so_far = self._hash()
        self.hashes = self.so_far[self.ends - 1]

    def _hash(self) -> np.ndarray:
        order = np.argsort(-self.lengths)  # the longest first, so that those longer than a size stand together
        lengths, places = -self.lengths[order], self.starts[order]
        so_far, values = np.empty(len(self.data) - HEAD, np.uint64), np.zeros(len(places), np.uint64)
        for size in range(self.lengths.max(initial=0)):
            places = places[: np.searchsorted(lengths, -size)]
            values = values[: len(places)] * BASE + self.data[places + size] + np.uint64(1)
            so_far[places + size] = values
        return so_far


class TokenTable:
    """Tokens and their ids."""

    def __init__(self, id_of: Mapping[bytes, int], tokens: Strings):
        """`tokens` are the keys of `id_of`."""
        self._id_of = id_of
        self.ids = np.fromiter(id_of.values(), np.int64, len(id_of))
        self._eight, self._starts, self._lengths = numbers(tokens.data), tokens.starts, tokens.lengths
        self._table = NumberTable(as_key(tokens.hashes), np.arange(len(id_of)))
        self.is_exact = bool(
            (self.candidates(tokens.hashes) == np.arange(len(id_of))).all()
        )  # no two have the same hash

    def find(self, words: Sequence[bytes]) -> np.ndarray:
        """The ids of words, (n,) int64; NEVER for those that are no tokens."""
        is_short = (np.fromiter(map(len, words), np.int64, len(words)) <= LONGEST) & self.is_exact
        short, long = np.flatnonzero(is_short), np.flatnonzero(~is_short)
        ids = np.empty(len(words), np.int64)
        ids[long] = [self._id_of.get(words[i], NEVER) for i in long.tolist()]
        ids[short] = self._find_together([words[i] for i in short.tolist()])
        return ids

    def _find_together(self, words: Sequence[bytes]) -> np.ndarray:
        strings = Strings(words)
        which = self.candidates(strings.hashes)
        found = np.flatnonzero(which < NEVER)
        same = self.are_at(which[found], numbers(strings.data), strings.starts[found], strings.lengths[found])
        ids = np.full(len(words), NEVER)
        ids[found[same]] = self.ids[which[found[same]]]
        return ids

    def candidates(self, hashes: np.ndarray) -> np.ndarray:
        """Which tokens (their place among all) have these hashes; NEVER for none."""
        return self._table.find(as_key(hashes))

    def are_at(self, which: np.ndarray, eight: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Whether the tokens `which` are so many bytes from these places on of a text, of which `eight` are the
        `numbers`.
        """
        same = self._lengths.take(which) == sizes
        rest = np.flatnonzero(same)
        offset = 0
        while len(rest):
            here, there = starts.take(rest) + offset, self._starts.take(which.take(rest)) + offset
            left = sizes.take(rest) - offset  # bytes
            different = (eight[here] ^ self._eight[there]) & MASKS[0].take(np.minimum(left, HEAD))
            same[rest] = different == 0
            rest = rest.take(np.flatnonzero((different == 0) & (left > HEAD)))
            offset += HEAD
        return same


def as_key(hashes: np.ndarray) -> np.ndarray:
    return (hashes & POSITIVE).view(np.int64)
