"""Which tokens make a token, for all pairs of a vocabulary without merges: what a bpe.RankTable finds out one by one.

Each token is cut in two wherever it can be, and both parts are looked up by their hashes (token_table.py): those of all
beginnings come about on the way to that of the whole, and that of the rest is a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tokenizer.arrays.number_table import NEVER
from tokenizer.arrays.string_table import BASE, Strings, TokenTable
from tokenizer.arrays.token_bytes import numbers
from tokenizer.bpe.batch import PairTable
from tokenizer.bpe.textbook import RankTable

BLOCK = 1 << 15  # bytes that are looked at together: so many that what belongs to them stays in fast memory


class RankPairs(PairTable):
    """The pairs of a RankTable. A rank is the id that it makes. `tokens` are those that can be made, and the bytes."""

    def __init__(self, table: RankTable):
        strings = Strings(table.rank_of)
        self.tokens = TokenTable(table.rank_of, strings)
        left, right, ranks = (
            cuts(strings, self.tokens) if self.tokens.is_exact else cuts_textbook(table.rank_of, table.rank_of)
        )
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


def cuts(strings: Strings, tokens: TokenTable) -> np.ndarray:
    """The same for all `tokens`, which are `strings`."""
    owners = np.repeat(np.arange(len(strings.lengths)), strings.lengths)  # of each byte, the token that it is of
    powers = np.cumprod(np.append(np.uint64(1), np.full(strings.lengths.max(initial=0), BASE)))
    is_inside = np.ones(len(owners), bool)
    is_inside[strings.ends - 1] = False
    eight, places = numbers(strings.data), np.flatnonzero(is_inside)

    def cuts_after(last: np.ndarray) -> np.ndarray:
        """Those whose left part has its last byte at one of `last`."""
        left = tokens.candidates(strings.so_far.take(last))
        last, left = take(np.flatnonzero(left < NEVER), last, left)
        whole = owners.take(last)
        sizes = strings.ends.take(whole) - last - 1  # of the right parts
        right = tokens.candidates(strings.hashes.take(whole) - strings.so_far.take(last) * powers.take(sizes))
        last, left, right, whole, sizes = take(np.flatnonzero(right < NEVER), last, left, right, whole, sizes)
        starts = strings.starts.take(whole)
        same = tokens.are_at(left, eight, starts, last + 1 - starts) & tokens.are_at(right, eight, last + 1, sizes)
        return np.stack(take(np.flatnonzero(same), left, right, whole))

    parts = [cuts_after(places[i : i + BLOCK]) for i in range(0, len(places), BLOCK)]
    return tokens.ids.take(np.concatenate([np.empty((3, 0), np.int64), *parts], axis=1))


def take(which: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(array.take(which) for array in arrays)
