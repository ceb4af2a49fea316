"""A hash table of the tokens of a vocabulary, which looks up many strings at once.

The hash of a string is a polynomial in BASE with the bytes of the string as coefficients, modulo 2^64 (Karp and Rabin
1987, "Efficient randomized pattern-matching algorithms"). So the hash of any part of a string can be computed from the
hashes of its prefixes. Equal hashes are followed by a comparison of the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tokenizer.arrays.number_table import NumberTable
from tokenizer.arrays.token_bytes import UINT64_BYTES, uint64_at
from tokenizer.arrays.word_table import BYTE_MASKS

BASE = np.uint64(0x2545F4914F6CDD1D)  # odd, and its bits look random
POSITIVE = np.uint64((1 << 63) - 1)  # the keys of a NumberTable are not negative


class StringTable:
    """The n tokens that are the keys of `id_of`, none of them empty.

    `data`, (bytes,) uint8, are the bytes of all tokens. Token k begins at `starts[k]`, ends before `ends[k]`, and has
    the id `ids[k]` and the hash `hashes[k]`. `prefix_hashes[i]`, (bytes,), is the hash of a part of the token to which
    byte i of `data` belongs: from its first byte to byte i.

    `is_exact`: no two tokens have the same hash. Otherwise `find` is wrong.
    """

    def __init__(self, id_of: Mapping[bytes, int], base: np.uint64 = BASE):
        self.base = base
        self.ids = np.fromiter(id_of.values(), np.int64, len(id_of))
        self.lengths = np.fromiter(map(len, id_of), np.int64, len(id_of))
        self.ends = np.cumsum(self.lengths)
        self.starts = self.ends - self.lengths
        self.data = np.frombuffer(b"".join(id_of), np.uint8)
        self._eights = uint64_at(np.append(self.data, np.zeros(UINT64_BYTES, np.uint8)))
        self.prefix_hashes = self._hash_prefixes()
        self.hashes = self.prefix_hashes[self.ends - 1]
        self._table = NumberTable(as_key(self.hashes), np.arange(len(id_of)))
        # Of tokens with the same hash, the table stores only one.
        self.is_exact = bool((self._table.find(as_key(self.hashes)) == np.arange(len(id_of))).all())

    def _hash_prefixes(self) -> np.ndarray:
        # One byte of each token at a time. The longest tokens come first, so that the tokens that still have bytes left
        # are always at the beginning of the arrays.
        order = np.argsort(-self.lengths)
        negative_lengths, starts = -self.lengths[order], self.starts[order]
        result, hashes = np.empty(len(self.data), np.uint64), np.zeros(len(starts), np.uint64)
        for size in range(self.lengths.max(initial=0)):
            starts = starts[: np.searchsorted(negative_lengths, -size)]
            # Plus 1, so that zero bytes change the hash too.
            hashes = hashes[: len(starts)] * self.base + self.data[starts + size] + np.uint64(1)
            result[starts + size] = hashes
        return result

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """For each hash, (n,) uint64, the index of the token that has it; NOT_FOUND if there is none."""
        return self._table.find(as_key(hashes))

    def are_equal(self, index: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Whether each token `index` is equal to the part of `data` at `starts` with these `lengths`, (n,) each."""
        same = self.lengths.take(index) == lengths
        rest = np.flatnonzero(same)  # equal so far, with bytes left to compare
        offset = 0
        while len(rest):  # eight bytes at a time
            here, there = starts.take(rest) + offset, self.starts.take(index.take(rest)) + offset
            bytes_left = lengths.take(rest) - offset
            mask = BYTE_MASKS[0].take(np.minimum(bytes_left, UINT64_BYTES))
            difference = (self._eights[here] ^ self._eights[there]) & mask
            same[rest] = difference == 0
            rest = rest.take(np.flatnonzero((difference == 0) & (bytes_left > UINT64_BYTES)))
            offset += UINT64_BYTES
        return same


def as_key(hashes: np.ndarray) -> np.ndarray:
    return (hashes & POSITIVE).view(np.int64)
