"""The merge table of a vocabulary that lists only tokens (`merge_table.RankTable`), for all pairs at once.

Each token is cut in two at every byte, and both parts are looked up by their hashes (string_table.py). The hash of a
left part is that of a beginning of the token, which is known. The hash of the right part is a difference of two hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tokenizer.arrays.number_table import NOT_FOUND
from tokenizer.arrays.string_table import BASE, Strings, StringTable
from tokenizer.arrays.token_bytes import words_at
from tokenizer.bpe.batch import PairTable
from tokenizer.bpe.merge_table import RankTable

BLOCK_BYTES = 1 << 15  # bytes whose cuts are examined together, so that their arrays stay in the processor's cache


class RankPairs(PairTable):
    """The pairs of a RankTable. A rank is the id that it makes. `tokens` has those that may be made, and the bytes."""

    def __init__(self, table: RankTable, base: np.uint64 = BASE):
        strings = Strings(table.rank_of, base)
        self.tokens = StringTable(table.rank_of, strings)
        exact = self.tokens.is_exact
        found = cuts(strings, self.tokens) if exact else cuts_textbook(table.rank_of, table.rank_of)
        super().__init__(found[0], found[1], found[2], np.arange(len(table.tokens)))


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


def cuts(strings: Strings, tokens: StringTable) -> np.ndarray:
    """The same for all `tokens`, which are `strings`."""
    owners = np.repeat(np.arange(len(strings.lengths)), strings.lengths)  # for each byte, the index of its token
    powers = np.cumprod(np.append(np.uint64(1), np.full(strings.lengths.max(initial=0), strings.base)))
    is_inside = np.ones(len(owners), bool)
    is_inside[strings.ends - 1] = False
    words, positions = words_at(strings.data), np.flatnonzero(is_inside)

    def cuts_after(last: np.ndarray) -> np.ndarray:
        """The cuts whose left part has its last byte at one of the positions `last`."""
        left = tokens.candidates(strings.prefix_hashes.take(last))
        last, left = take(np.flatnonzero(left < NOT_FOUND), last, left)
        whole = owners.take(last)
        sizes = strings.ends.take(whole) - last - 1  # of the right parts
        right_hashes = strings.hashes.take(whole) - strings.prefix_hashes.take(last) * powers.take(sizes)
        right = tokens.candidates(right_hashes)
        last, left, right, whole, sizes = take(np.flatnonzero(right < NOT_FOUND), last, left, right, whole, sizes)
        starts = strings.starts.take(whole)
        # Equal hashes are not enough: the bytes have to be equal too.
        left_is_equal = tokens.are_equal(left, words, starts, last + 1 - starts)
        same = left_is_equal & tokens.are_equal(right, words, last + 1, sizes)
        return np.stack(take(np.flatnonzero(same), left, right, whole))

    blocks = [cuts_after(positions[i : i + BLOCK_BYTES]) for i in range(0, len(positions), BLOCK_BYTES)]
    return tokens.ids.take(np.concatenate([np.empty((3, 0), np.int64), *blocks], axis=1))


def take(indices: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(array.take(indices) for array in arrays)
