"""All pairs that can be merged in a vocabulary that lists only tokens (`merge_table.RankTable`), found with arrays.

Each token is cut into two parts at every byte. If both parts are tokens, they are a pair, and the whole token is what
their merge makes. Parts are looked up by their hashes (string_table.py). The hash is a polynomial, so the hash of a
right part follows from two known hashes: hash(right) = hash(whole) - hash(left) * base ** len(right).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tokenizer.arrays.number_table import NOT_FOUND
from tokenizer.arrays.string_table import BASE, StringTable
from tokenizer.bpe.batch import PairTable
from tokenizer.bpe.merge_table import RankTable

BLOCK_BYTES = 1 << 15  # cuts are examined in blocks, so that their arrays stay in the cache of the processor


class RankPairs(PairTable):
    """The pairs of a RankTable. The rank of a merge is the id of the token that it makes."""

    def __init__(self, table: RankTable, base: np.uint64 = BASE):
        tokens = StringTable(table.rank_of, base)
        left, right, whole = cuts(tokens) if tokens.is_exact else cuts_definition(table.rank_of)
        super().__init__(left, right, whole, np.arange(len(table.tokens)))


def cuts_definition(rank_of: Mapping[bytes, int]) -> np.ndarray:
    """(3, n) int64: the ids of left part, right part and whole, for each way to cut a token into two tokens."""
    get = rank_of.get
    found = [
        (left, right, whole)
        for token, whole in rank_of.items()
        for size in range(1, len(token))
        if (left := get(token[:size])) is not None and (right := get(token[size:])) is not None
    ]
    return np.array(found, np.int64).reshape(-1, 3).T


def cuts(tokens: StringTable) -> np.ndarray:
    """`cuts_definition` with arrays."""
    token_of_byte = np.repeat(np.arange(len(tokens.ids)), tokens.lengths)
    powers = np.cumprod(np.append(np.uint64(1), np.full(tokens.lengths.max(initial=0), tokens.base)))
    is_last = np.zeros(len(token_of_byte), bool)
    is_last[tokens.ends - 1] = True
    positions = np.flatnonzero(~is_last)  # a token can be cut after each of its bytes but the last

    def cuts_after(last: np.ndarray) -> np.ndarray:
        """The cuts whose left parts end with the bytes at the positions `last`."""
        # Many left parts are no tokens, so the right parts are looked up only where the left part is one.
        left = tokens.find(tokens.prefix_hashes.take(last))
        last, left = take(np.flatnonzero(left < NOT_FOUND), last, left)
        whole = token_of_byte.take(last)
        sizes = tokens.ends.take(whole) - last - 1  # of the right parts
        right = tokens.find(tokens.hashes.take(whole) - tokens.prefix_hashes.take(last) * powers.take(sizes))
        last, left, right, whole, sizes = take(np.flatnonzero(right < NOT_FOUND), last, left, right, whole, sizes)
        # Equal hashes are not enough: the bytes have to be equal too.
        starts = tokens.starts.take(whole)
        left_is_equal = tokens.are_equal(left, starts, last + 1 - starts)
        is_equal = left_is_equal & tokens.are_equal(right, last + 1, sizes)
        return np.stack(take(np.flatnonzero(is_equal), left, right, whole))

    blocks = [cuts_after(positions[i : i + BLOCK_BYTES]) for i in range(0, len(positions), BLOCK_BYTES)]
    return tokens.ids.take(np.concatenate([np.empty((3, 0), np.int64), *blocks], axis=1))


def take(indices: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The elements at `indices` of each of `arrays`."""
    return tuple(array.take(indices) for array in arrays)
