"""A table of strings (the tokens of a vocabulary) that looks up many strings at once.

A string is found by its hash, the value of a polynomial whose coefficients are its bytes (Karp and Rabin 1987,
"Efficient randomized pattern-matching algorithms"). Then the bytes are compared, so that equal hashes do no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from tokenizer.arrays.number_table import NOT_FOUND, NumberTable
from tokenizer.arrays.token_bytes import WORD_BYTES, uint64_at
from tokenizer.arrays.word_table import BYTE_MASKS

BASE = np.uint64(0x2545F4914F6CDD1D)  # of the polynomial: odd, well mixed
POSITIVE = np.uint64((1 << 63) - 1)
MAX_HASHED_BYTES = 32  # longer strings are looked up one by one


class Strings:
    """n strings, none of them empty, and their bytes, one string after another.

    `hashes`, (n,), are those of the strings; `prefix_hashes`, (bytes,), those of each beginning of a string, at the
    position of its last byte.
    """

    def __init__(self, strings: Collection[bytes], base: np.uint64 = BASE):
        self.base = base
        self.lengths = np.fromiter(map(len, strings), np.int64, len(strings))
        self.ends = np.cumsum(self.lengths)
        self.starts = self.ends - self.lengths
        self.data = np.frombuffer(b"".join(strings) + bytes(WORD_BYTES), np.uint8)
        self.prefix_hashes = self._hash_prefixes()
        self.hashes = self.prefix_hashes[self.ends - 1]

    def _hash_prefixes(self) -> np.ndarray:
        # The longest strings come first, so that those longer than a given size are always the first ones.
        order = np.argsort(-self.lengths)
        negative_lengths, starts = -self.lengths[order], self.starts[order]
        result, values = np.empty(len(self.data) - WORD_BYTES, np.uint64), np.zeros(len(starts), np.uint64)
        for size in range(self.lengths.max(initial=0)):
            starts = starts[: np.searchsorted(negative_lengths, -size)]
            values = values[: len(starts)] * self.base + self.data[starts + size] + np.uint64(1)
            result[starts + size] = values
        return result


class StringTable:
    """Tokens and their ids. `tokens` are the keys of `id_of`."""

    def __init__(self, id_of: Mapping[bytes, int], tokens: Strings):
        self._id_of = id_of
        self._tokens = tokens
        self._token_words = uint64_at(tokens.data)
        self.ids = np.fromiter(id_of.values(), np.int64, len(id_of))
        self._table = NumberTable(as_key(tokens.hashes), np.arange(len(id_of)))
        # Of tokens with the same hash only one can be stored. If that ever happens, no hash is used.
        self.is_exact = bool((self.candidates(tokens.hashes) == np.arange(len(id_of))).all())

    def find(self, strings: Sequence[bytes]) -> np.ndarray:
        """The ids of strings, (n,) int64; NOT_FOUND for those that are no tokens."""
        is_short = (np.fromiter(map(len, strings), np.int64, len(strings)) <= MAX_HASHED_BYTES) & self.is_exact
        short, long = np.flatnonzero(is_short), np.flatnonzero(~is_short)
        ids = np.empty(len(strings), np.int64)
        ids[long] = [self._id_of.get(strings[i], NOT_FOUND) for i in long.tolist()]
        ids[short] = self._find_hashed(Strings([strings[i] for i in short.tolist()], self._tokens.base))
        return ids

    def _find_hashed(self, strings: Strings) -> np.ndarray:
        index = self.candidates(strings.hashes)
        found = np.flatnonzero(index < NOT_FOUND)
        same = self.are_equal(index[found], uint64_at(strings.data), strings.starts[found], strings.lengths[found])
        ids = np.full(len(strings.lengths), NOT_FOUND)
        ids[found[same]] = self.ids[index[found[same]]]
        return ids

    def candidates(self, hashes: np.ndarray) -> np.ndarray:
        """For each hash, the index of the token that has it, (n,) int64; NOT_FOUND if there is none."""
        return self._table.find(as_key(hashes))

    def are_equal(self, index: np.ndarray, words: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Whether the tokens number `index` are the strings at `starts` with `lengths` of a text, (n,) each.

        `words` are the `uint64_at` of the text: eight bytes are compared at a time.
        """
        same = self._tokens.lengths.take(index) == lengths
        rest = np.flatnonzero(same)
        offset = 0
        while len(rest):
            here, there = starts.take(rest) + offset, self._tokens.starts.take(index.take(rest)) + offset
            bytes_left = lengths.take(rest) - offset
            mask = BYTE_MASKS[0].take(np.minimum(bytes_left, WORD_BYTES))
            difference = (words[here] ^ self._token_words[there]) & mask
            same[rest] = difference == 0
            rest = rest.take(np.flatnonzero((difference == 0) & (bytes_left > WORD_BYTES)))
            offset += WORD_BYTES
        return same


def as_key(hashes: np.ndarray) -> np.ndarray:
    return (hashes & POSITIVE).view(np.int64)
