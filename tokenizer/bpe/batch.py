"""Level 4, one idea: many words are merged at once, as the columns of a matrix of ids.

Each round makes one merge in every word: the pair of lowest rank, the leftmost of equal ones. So there are as many
rounds as the longest word has merges. Words that are done leave the matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from tokenizer.arrays.number_table import NOT_FOUND, NumberTable
from tokenizer.arrays.ragged import Ragged, assemble, ranges
from tokenizer.bpe.merge_table import MergeTable

OUTSIDE = (1 << 31) - 1  # an id that no token has: what is before and after a word
ROW_BITS = 8  # enough for the rows of MAX_BATCH_BYTES
MAX_BATCH_BYTES = 250  # longer words are merged one by one
HEIGHTS = [8, 16, 32, 64, 128, MAX_BATCH_BYTES]  # words up to the same height share a matrix
MIN_WIDTH = 256  # fewer words do not get a matrix of their own, but share the one of longer words
SHRINK_RATIO = 0.7  # finished columns are removed when at most this fraction of the columns is unfinished


class PairTable:
    """The ranks of pairs of ids, as a table that looks up many pairs at once. `new_ids[rank]` is the id that the merge
    of this rank makes."""

    def __init__(self, left: np.ndarray, right: np.ndarray, ranks: np.ndarray, new_ids: np.ndarray):
        self._table = NumberTable(left << 32 | right, ranks)
        self.new_ids = new_ids

    @classmethod
    def of(cls, table: MergeTable) -> PairTable:
        """Ranks are renumbered from 0, in the same order."""
        count = len(table)
        pairs = np.fromiter(chain.from_iterable(table), np.int64, 2 * count).reshape(count, 2)
        merges = np.fromiter(chain.from_iterable(table.values()), np.int64, 2 * count).reshape(count, 2)
        _, first, ranks = np.unique(merges[:, 0], return_index=True, return_inverse=True)
        new_ids = merges[first, 1]
        if (new_ids[ranks] != merges[:, 1]).any():
            raise ValueError("two merges of the same rank make different tokens")
        return cls(pairs[:, 0], pairs[:, 1], ranks, new_ids)

    def ranks(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The ranks of pairs of ids, (n,) int64 each; NOT_FOUND for pairs that are not joined."""
        return self._table.find(left << 32 | right)


class BatchMerger:
    """Encodes many words together. Words of similar length share a matrix, so that little of it is empty."""

    def __init__(self, byte_ids: Sequence[int], pairs: PairTable, min_width: int = MIN_WIDTH):
        self.byte_ids = np.array(byte_ids, np.int64)
        self.pairs = pairs
        self.min_width = min_width
        ids = np.where(self.byte_ids < 0, OUTSIDE, self.byte_ids)
        # The rank of the pair of bytes a and b is at 256 a + b.
        self._byte_ranks = pairs.ranks(np.repeat(ids, 256), np.tile(ids, 256))

    def encode(self, words: Sequence[bytes]) -> Ragged:
        """The ids of words of at most MAX_BATCH_BYTES bytes."""
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        data = np.frombuffer(b"".join(words), np.uint8)
        has_id = self.byte_ids[data] >= 0
        if not has_id.all():  # bytes without a token are left out
            word_of_byte = np.repeat(np.arange(len(words)), lengths)
            lengths = np.bincount(word_of_byte[has_id], minlength=len(words))
            data = data[has_id]
        starts = np.cumsum(lengths) - lengths
        groups = of_similar_length(lengths, self.min_width)
        return assemble([(g, *self._merge(data, starts[g], lengths[g])) for g in groups], len(words))

    def _merge(self, data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Ragged:
        height, width = int(lengths.max(initial=0)) + 1, len(lengths)  # the last row is OUTSIDE everywhere
        rows, columns = ranges(np.zeros(width, np.int64), lengths), np.repeat(np.arange(width), lengths)
        matrix, ranks = np.full((height, width), OUTSIDE, np.int64), np.full((height, width), NOT_FOUND, np.int64)
        byte = data[ranges(starts, lengths)].astype(np.int64)
        matrix[rows, columns] = self.byte_ids[byte]
        ranks[rows[:-1], columns[:-1]] = self._byte_ranks[byte[:-1] * 256 + byte[1:]]
        ranks[lengths - 1, np.arange(width)] = NOT_FOUND  # the last byte of a word has no neighbour
        merge_columns(matrix, ranks, self.pairs)
        merged = np.ascontiguousarray(matrix.T)  # one word in each row
        is_token = merged != OUTSIDE
        return merged[is_token], is_token.sum(axis=1)


def of_similar_length(lengths: np.ndarray, min_width: int) -> Iterator[np.ndarray]:
    """The indices of the words that share a matrix, (k,) each."""
    heights = np.searchsorted(HEIGHTS, lengths).astype(np.uint8)
    order = np.argsort(heights, kind="stable")
    first = 0
    for end in np.cumsum(np.bincount(heights, minlength=len(HEIGHTS))).tolist():
        if end - first >= min_width or first < end == len(order):
            yield order[first:end]
            first = end


def merge_columns(matrix: np.ndarray, ranks: np.ndarray, pairs: PairTable) -> None:
    """Merge each column of `matrix`, (height, words) ids, in place. The last row must be OUTSIDE.

    The token that a merge makes is put where its left part was; its right part becomes OUTSIDE. `ranks`, (height,
    words), are those of each token with the next one.
    """
    height, width = matrix.shape
    row = np.arange(height)[:, None]
    # A rank and, in the low bits, its row: so the smallest number of a column is the next merge.
    order = ranks << ROW_BITS | row
    before, after = np.repeat(row - 1, width, axis=1), np.repeat(row + 1, width, axis=1)  # linked lists of rows
    words = np.arange(width)  # the words whose columns are in the arrays below, fewer and fewer of all
    ids = matrix.copy()
    while True:
        best = order.min(axis=0)
        unfinished = np.flatnonzero(best < NOT_FOUND << ROW_BITS)
        if len(unfinished) <= SHRINK_RATIO * len(words):
            matrix[:, words] = ids
            if not len(unfinished):
                return
            words, best = words[unfinished], best[unfinished]
            ids, order, before, after = (a.take(unfinished, axis=1) for a in (ids, order, before, after))
            unfinished = np.arange(len(words))
        merge_once(ids, order, before, after, unfinished, best[unfinished], pairs)


def merge_once(
    ids: np.ndarray,
    order: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    column: np.ndarray,
    best: np.ndarray,
    pairs: PairTable,
) -> None:
    """Make one merge in each of the columns `column`: the one that `best` says. The arrays are (height, words)."""
    height, width = ids.shape
    # Positions are those of the flattened arrays: row * width + column. Row -1 is the last one, as always in NumPy, so
    # the first token of a word has an OUTSIDE before it too.
    flat_ids, flat_order, flat_before, flat_after = (a.reshape(-1) for a in (ids, order, before, after))
    row = best & ((1 << ROW_BITS) - 1)
    here = row * width + column
    right = flat_after[here] * width + column
    next_row, previous_row = flat_after[right], flat_before[here]
    following, previous = next_row * width + column, previous_row * width + column
    new_ids = pairs.new_ids[best >> ROW_BITS]
    flat_ids[here], flat_ids[right] = new_ids, OUTSIDE
    flat_after[here], flat_before[following] = next_row, row
    flat_order[right] = NOT_FOUND << ROW_BITS
    # The new token makes two new pairs: with the token after it and with the one before it.
    left_ids, right_ids = np.append(new_ids, flat_ids[previous]), np.append(flat_ids[following], new_ids)
    rows = np.append(row, previous_row % height)
    flat_order[np.append(here, previous)] = pairs.ranks(left_ids, right_ids) << ROW_BITS | rows
