"""Level 4, one idea: many words are merged at once, as the columns of a matrix of ids.

Each round makes one merge in every word: the pair of the lowest rank, of equal ranks the leftmost. The number of rounds
is the number of merges in the word that has the most merges. The columns of finished words are removed from the matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from tokenizer.arrays.number_table import NOT_FOUND, NumberTable
from tokenizer.arrays.ragged import Ragged, assemble, ranges
from tokenizer.bpe.merge_table import MergeTable

OUTSIDE = (1 << 31) - 1  # stands where there is no token: before and after a word. No token has this id
ROW_BITS = 8  # the index of a row fits into this number of bits: there are at most MAX_BATCH_BYTES + 1 rows
MAX_BATCH_BYTES = 250  # longer words are merged one by one
MATRIX_HEIGHTS = [8, 16, 32, 64, 128, MAX_BATCH_BYTES]  # a word is put into the lowest matrix that is high enough ...
MIN_WIDTH = 256  # ... but a matrix for fewer than 256 words is not made: they are put into the next higher one
SHRINK_RATIO = 0.7  # finished columns are removed when at most this fraction of the columns is not finished


class PairTable:
    """The merges, in a table that looks up the ranks of many pairs at once.

    `new_ids[rank]` is the id of the token that the merge of this rank makes.
    """

    def __init__(self, left: np.ndarray, right: np.ndarray, ranks: np.ndarray, new_ids: np.ndarray):
        self._table = NumberTable(left << 32 | right, ranks)
        self.new_ids = new_ids

    @classmethod
    def of(cls, table: MergeTable) -> PairTable:
        """The same merges as in `table`. The ranks keep their order, but are 0, 1, 2, ..."""
        count = len(table)
        pairs = np.fromiter(chain.from_iterable(table), np.int64, 2 * count).reshape(count, 2)
        merges = np.fromiter(chain.from_iterable(table.values()), np.int64, 2 * count).reshape(count, 2)
        _, first, ranks = np.unique(merges[:, 0], return_index=True, return_inverse=True)
        new_ids = merges[first, 1]
        if (new_ids[ranks] != merges[:, 1]).any():
            raise ValueError("two merges of the same rank make different tokens")
        return cls(pairs[:, 0], pairs[:, 1], ranks, new_ids)

    def ranks(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The ranks of pairs of ids, (n,) int64 each; NOT_FOUND for pairs that cannot be merged."""
        return self._table.find(left << 32 | right)


class BatchMerger:
    """Encodes many words together. Words of similar length are in one matrix, so that little of it is empty."""

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
        parts = []
        for indices in of_similar_length(lengths, self.min_width):
            parts.append((indices, *self._merge(data, starts[indices], lengths[indices])))
        return assemble(parts, len(words))

    def _merge(self, data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Ragged:
        """The ids of the words data[start : start + length], which share a matrix."""
        height, width = int(lengths.max(initial=0)) + 1, len(lengths)  # the last row is OUTSIDE everywhere
        matrix = np.full((height, width), OUTSIDE, np.int64)
        ranks = np.full((height, width), NOT_FOUND, np.int64)
        # The bytes of all words, one word after another, and where each byte is in the matrix. (bytes,) each.
        byte = data[ranges(starts, lengths)].astype(np.int64)
        rows, columns = ranges(np.zeros(width, np.int64), lengths), np.repeat(np.arange(width), lengths)
        matrix[rows, columns] = self.byte_ids[byte]
        ranks[rows[:-1], columns[:-1]] = self._byte_ranks[byte[:-1] * 256 + byte[1:]]
        ranks[lengths - 1, np.arange(width)] = NOT_FOUND  # the last byte of a word is no pair with the next word
        merge_columns(matrix, ranks, self.pairs)
        merged = np.ascontiguousarray(matrix.T)  # (words, height)
        is_token = merged != OUTSIDE
        return merged[is_token], is_token.sum(axis=1)


def of_similar_length(lengths: np.ndarray, min_width: int) -> Iterator[np.ndarray]:
    """For each matrix, the indices of its words, (k,)."""
    heights = np.searchsorted(MATRIX_HEIGHTS, lengths).astype(np.uint8)
    order = np.argsort(heights, kind="stable")
    first = 0
    for end in np.cumsum(np.bincount(heights, minlength=len(MATRIX_HEIGHTS))).tolist():
        is_last = end == len(order)  # there are no longer words, for which a higher matrix would follow
        if end - first >= min_width or is_last and first < end:
            yield order[first:end]
            first = end


class Columns(NamedTuple):
    """The state of the words of a matrix, (height, words) each.

    `keys` are the pairs of each token with the next one, as the number rank << ROW_BITS | row. So the smallest number
    of a column is the next merge. `before` and `after` are the rows of the neighbours: a linked list in each column.
    """

    ids: np.ndarray
    keys: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def take(self, columns: np.ndarray) -> Columns:
        return Columns(*(array.take(columns, axis=1) for array in self))


def merge_columns(matrix: np.ndarray, ranks: np.ndarray, pairs: PairTable) -> None:
    """Merge each column of `matrix`, (height, words) ids, in place. The last row must be OUTSIDE.

    The token that a merge makes replaces its left part, and its right part becomes OUTSIDE. `ranks`, (height, words),
    are the ranks of each token with the next one.
    """
    height, width = matrix.shape
    row = np.arange(height)[:, None]
    before, after = np.repeat(row - 1, width, axis=1), np.repeat(row + 1, width, axis=1)
    state = Columns(matrix.copy(), ranks << ROW_BITS | row, before, after)
    words = np.arange(width)  # which words are still in `state`
    while True:
        best = state.keys.min(axis=0)
        unfinished = np.flatnonzero(best < NOT_FOUND << ROW_BITS)
        if len(unfinished) <= SHRINK_RATIO * len(words):
            matrix[:, words] = state.ids
            if not len(unfinished):
                return
            words, best, state = words[unfinished], best[unfinished], state.take(unfinished)
            unfinished = np.arange(len(words))
        merge_once(state, unfinished, best[unfinished], pairs)


def merge_once(state: Columns, columns: np.ndarray, best: np.ndarray, pairs: PairTable) -> None:
    """Make one merge in each of k columns. `columns`, (k,), are their indices, `best`, (k,), the keys of the merges."""
    height, width = state.ids.shape
    # Single elements are read and written in the flattened arrays, at row * width + column. Row -1 gives a negative
    # position, which NumPy counts from the end: so it is the last row, and the first token has an OUTSIDE before it.
    ids, keys, before, after = (array.reshape(-1) for array in state)
    left_row = best & ((1 << ROW_BITS) - 1)
    left = left_row * width + columns
    right = after[left] * width + columns
    next_row, previous_row = after[right], before[left]
    next_token, previous_token = next_row * width + columns, previous_row * width + columns
    new_ids = pairs.new_ids[best >> ROW_BITS]
    ids[left], ids[right] = new_ids, OUTSIDE
    after[left], before[next_token] = next_row, left_row
    keys[right] = NOT_FOUND << ROW_BITS
    # The new token is in two new pairs: with the next token and with the previous one.
    left_ids, right_ids = np.append(new_ids, ids[previous_token]), np.append(ids[next_token], new_ids)
    rows = np.append(left_row, previous_row % height)
    keys[np.append(left, previous_token)] = pairs.ranks(left_ids, right_ids) << ROW_BITS | rows
