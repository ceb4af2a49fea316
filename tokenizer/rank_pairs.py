"""Which tokens make a token, for all pairs of a vocabulary without merges: what a bpe.RankTable finds out one by one.

Each token is cut in two wherever it can be, and both parts are looked up by their hashes. The hash of a string is the value
of a polynomial whose coefficients are its bytes, so that those of all beginnings come about on the way to that of the whole,
and that of the rest is a difference. (Karp and Rabin 1987, "Efficient randomized pattern-matching algorithms".) What has the
same hash is then compared, so that nothing is left to chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from .bpe import RankTable
from .number_table import NEVER, NumberTable
from .pairs import PairTable
from .token_bytes import HEAD, numbers
from .word_table import MASKS

BASE = np.uint64(0x2545F4914F6CDD1D)  # odd, well mixed
POSITIVE = np.uint64((1 << 63) - 1)
BLOCK = 1 << 15  # bytes that are looked at together: so many that what belongs to them stays in fast memory


class RankPairs(PairTable):
    """The pairs of a RankTable. A rank is the id that it makes."""

    def __init__(self, table: RankTable):
        left, right, ranks = cuts(table.rank_of)
        super().__init__(left, right, ranks, joined=np.arange(len(table.tokens)))


def cuts_textbook(rank_of: Mapping[bytes, int], tokens: Iterable[bytes]) -> np.ndarray:
    """(3, n) int64: the ids of left part, right part and whole, for all of `tokens` that two others make."""
    get = rank_of.get
    found = [
        (left, right, rank_of[token])
        for token in tokens
        for size in range(1, len(token))
        if (left := get(token[:size])) is not None and (right := get(token[size:])) is not None
    ]
    return np.array(found, np.int64).reshape(-1, 3).T


def cuts(rank_of: Mapping[bytes, int]) -> np.ndarray:
    """The same for all tokens."""
    tokens = TokensInARow(rank_of)
    table = NumberTable(as_key(tokens.hashes), np.arange(len(rank_of)))
    if (table.find(as_key(tokens.hashes)) != np.arange(len(rank_of))).any():  # two tokens have the same hash
        return cuts_textbook(rank_of, rank_of)

    is_inside = np.ones(len(tokens.owners), bool)
    is_inside[tokens.ends - 1] = False
    places = np.flatnonzero(is_inside)
    parts = [cuts_after(places[i : i + BLOCK], tokens, table) for i in range(0, len(places), BLOCK)]
    return tokens.ids[np.concatenate([np.empty((3, 0), np.int64), *parts], axis=1)]


def cuts_after(last: np.ndarray, tokens: TokensInARow, table: NumberTable) -> np.ndarray:
    """The cuts whose left part has its last byte at one of `last`."""
    left = table.find(as_key(tokens.hashes_so_far[last]))
    last, left = last[left < NEVER], left[left < NEVER]
    right = table.find(as_key(tokens.hashes_of_rest(last)))
    last, left, right = last[right < NEVER], left[right < NEVER], right[right < NEVER]
    whole = tokens.owners[last]
    same = tokens.are_at(left, tokens.starts[whole], last + 1) & tokens.are_at(right, last + 1, tokens.ends[whole])
    return np.array([left, right, whole])[:, same]


def as_key(hashes: np.ndarray) -> np.ndarray:
    return (hashes & POSITIVE).view(np.int64)


class TokensInARow:
    """n tokens and their bytes, one token after the other. `owners` (bytes,) says of which token each byte is,
    `hashes_so_far` what the hash of that token is up to and with this byte, and `hashes` (n,) that of the whole."""

    def __init__(self, rank_of: Mapping[bytes, int]):
        count = len(rank_of)
        self.ids = np.fromiter(rank_of.values(), np.int64, count)
        self._lengths = np.fromiter(map(len, rank_of), np.int64, count)
        self.ends = np.cumsum(self._lengths)
        self.starts = self.ends - self._lengths
        self.owners = np.repeat(np.arange(count), self._lengths)
        self._data = np.frombuffer(b"".join(rank_of) + bytes(HEAD), np.uint8)
        self.hashes_so_far = self._hash()
        self.hashes = self.hashes_so_far[self.ends - 1]
        factors = np.full(self._lengths.max(initial=0) + 1, BASE)
        factors[0] = 1
        self._powers = np.cumprod(factors)

    def _hash(self) -> np.ndarray:
        order = np.argsort(-self._lengths)  # the longest first, so that those longer than a size stand together
        lengths, places = -self._lengths[order], self.starts[order]
        so_far, values = np.empty(len(self.owners), np.uint64), np.zeros(len(places), np.uint64)
        for size in range(self._lengths.max(initial=0)):
            places = places[: np.searchsorted(lengths, -size)]
            values = values[: len(places)] * BASE + self._data[places + size] + np.uint64(1)
            so_far[places + size] = values
        return so_far

    def hashes_of_rest(self, last: np.ndarray) -> np.ndarray:
        """The hashes of what comes in their tokens after the bytes at `last`."""
        owners = self.owners[last]
        return self.hashes[owners] - self.hashes_so_far[last] * self._powers[self.ends[owners] - last - 1]

    def are_at(self, which: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Whether the tokens `which` are the bytes from `starts` to `ends`, (k,) bool."""
        eight, sizes = numbers(self._data), ends - starts
        same = self._lengths[which] == sizes
        rest = np.flatnonzero(same)
        for offset in range(0, sizes.max(initial=0), HEAD):
            rest = rest[sizes[rest] > offset]
            here, there = eight[starts[rest] + offset], eight[self.starts[which[rest]] + offset]
            same[rest] &= (here ^ there) & MASKS[0][np.minimum(sizes[rest] - offset, HEAD)] == 0
        return same
