"""The merge table as arrays: the ranks of many pairs at once, and from them the merges of many words at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from tokenizer.arrays.number_table import NEVER, NumberTable
from tokenizer.bpe.textbook import MergeTable

OUTSIDE = (1 << 31) - 1  # an id that no token has: what is before and after a word
ROW_BITS = 8  # enough for LONGEST rows
LONGEST = 250  # bytes; longer words are merged one by one
HEIGHTS = [8, 16, 32, 64, 128, LONGEST]  # words of so many tokens at most share a matrix
WIDE = 256  # words: so many are worth a matrix of their own
KEEP = 0.7  # a matrix is made narrower when no more than this part of its words is still to be merged


class PairTable:
    """The ranks of pairs of ids. `joined[rank]` is the id that a merge of this rank makes."""

    def __init__(self, left: np.ndarray, right: np.ndarray, ranks: np.ndarray, joined: np.ndarray):
        self._table = NumberTable(left << 32 | right, ranks)
        self.joined = joined

    @classmethod
    def of(cls, table: MergeTable) -> PairTable:
        """Ranks are numbered anew, from 0 in the same order."""
        count = len(table)
        pairs = np.fromiter(chain.from_iterable(table), np.int64, 2 * count).reshape(count, 2)
        merges = np.fromiter(chain.from_iterable(table.values()), np.int64, 2 * count).reshape(count, 2)
        _, first, ranks = np.unique(merges[:, 0], return_index=True, return_inverse=True)
        joined = merges[first, 1]
        if (joined[ranks] != merges[:, 1]).any():
            raise ValueError("two merges of the same rank make different tokens")
        return cls(pairs[:, 0], pairs[:, 1], ranks, joined)

    def ranks(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The ranks of pairs of ids, (n,) int64 each; NEVER for those that are not joined."""
        return self._table.find(left << 32 | right)


class BatchMerger:
    """Many words at once. They are the columns of a matrix of ids, and each round joins one pair in every word: that of
    the lowest rank, the leftmost where there are several. So there are as many rounds as the longest word has merges,
    and words that are done leave. Words of like length share a matrix, so that little of it is empty."""

    def __init__(self, byte_ids: Sequence[int], pairs: PairTable):
        self.byte_ids = np.array(byte_ids, np.int64)
        self.pairs = pairs
        ids = np.where(self.byte_ids < 0, OUTSIDE, self.byte_ids)
        self._byte_ranks = pairs.ranks(
            np.repeat(ids, 256), np.tile(ids, 256)
        )  # of the pair of bytes a and b, at 256 a + b

    def encode(self, words: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Words of at most LONGEST bytes: the ids of all, one after the other, and how many each has. (ids,),
        (words,).
        """
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        data = np.frombuffer(b"".join(words), np.uint8)
        has_id = self.byte_ids[data] >= 0
        if not has_id.all():  # bytes without a token are left out
            owner = np.repeat(np.arange(len(words)), lengths)
            lengths = np.bincount(owner[has_id], minlength=len(words))
            data = data[has_id]
        starts = np.cumsum(lengths) - lengths
        parts = [(which, *self._merge(data, starts[which], lengths[which])) for which in of_like_length(lengths)]
        return assemble(parts, len(words))

    def _merge(self, data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = int(lengths.max(initial=0)) + 1, len(lengths)  # a last row of nothing but OUTSIDE
        rows, columns = places(np.zeros(width, np.int64), lengths), np.repeat(np.arange(width), lengths)
        matrix, ranks = np.full((height, width), OUTSIDE, np.int64), np.full((height, width), NEVER, np.int64)
        here = data[places(starts, lengths)].astype(np.int64)
        matrix[rows, columns] = self.byte_ids[here]
        ranks[rows[:-1], columns[:-1]] = self._byte_ranks[here[:-1] * 256 + here[1:]]
        ranks[lengths - 1, np.arange(width)] = NEVER
        merge_columns(matrix, ranks, self.pairs)
        merged = np.ascontiguousarray(matrix.T)  # a word a row: in order, all ids but OUTSIDE
        present = merged != OUTSIDE
        return merged[present], present.sum(axis=1)


def of_like_length(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Which words share a matrix, (k,) each. Where they are few, they go with longer ones: a round costs its calls."""
    heights = np.searchsorted(HEIGHTS, lengths).astype(np.uint8)
    order = np.argsort(heights, kind="stable")
    first = 0
    for end in np.cumsum(np.bincount(heights, minlength=len(HEIGHTS))).tolist():
        if end - first >= WIDE or first < end == len(order):
            yield order[first:end]
            first = end


def places(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ..., as many as the length, of each in turn."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)


def assemble(parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], words: int) -> tuple[np.ndarray, np.ndarray]:
    """Put together what is known of `words` words in parts, each of which words (indices), their ids, and how many ids
    each has: the ids of all words in order, and how many each has."""
    parts = list(parts)
    counts = np.zeros(words, np.int64)
    for which, _, part_counts in parts:
        counts[which] = part_counts
    starts = np.cumsum(counts) - counts
    ids = np.empty(counts.sum(), np.int64)
    for which, part_ids, part_counts in parts:
        ids[places(starts[which], part_counts)] = part_ids
    return ids, counts


def merge_columns(matrix: np.ndarray, ranks: np.ndarray, pairs: PairTable) -> None:
    """Merge each column of (height, words) ids in place, whose last row is OUTSIDE. A merged pair stays where its left
    part was, its right part becomes OUTSIDE. `ranks` (height, words) are those of each token with the next one. `order`
    holds them, and in the low bits the row: the smallest number in a column is the next merge."""
    height, width = matrix.shape
    never = NEVER << ROW_BITS
    row = np.arange(height)[:, None]
    order = ranks << ROW_BITS | row
    before, after = np.repeat(row - 1, width, axis=1), np.repeat(row + 1, width, axis=1)
    words = np.arange(width)  # the words whose columns are in the arrays below, fewer and fewer of all
    ids = matrix.copy()
    while True:
        best = order.min(axis=0)
        live = np.flatnonzero(best < never)
        if len(live) <= KEEP * len(words):
            matrix[:, words] = ids
            if not len(live):
                return
            words, best = words[live], best[live]
            ids, order, before, after = (a.take(live, axis=1) for a in (ids, order, before, after))
            live = np.arange(len(words))
        join(ids, order, before, after, live, best[live], pairs)


def join(
    ids: np.ndarray,
    order: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    column: np.ndarray,
    best: np.ndarray,
    pairs: PairTable,
) -> None:
    """One merge in each of the columns `column`, the one of order `best`. The arrays are (height, words); places in
    them are those of the arrays laid flat. Row -1 is the last one, as always in NumPy, so that the first token of a
    word has an OUTSIDE before it too.
    """
    height, width = ids.shape
    flat_ids, flat_order, flat_before, flat_after = (a.reshape(-1) for a in (ids, order, before, after))
    row = best & ((1 << ROW_BITS) - 1)
    here = row * width + column
    right = flat_after[here] * width + column
    next_row, previous_row = flat_after[right], flat_before[here]
    following, previous = next_row * width + column, previous_row * width + column
    made = pairs.joined[best >> ROW_BITS]
    flat_ids[here], flat_ids[right] = made, OUTSIDE
    flat_after[here], flat_before[following] = next_row, row
    flat_order[right] = NEVER << ROW_BITS
    left, right = np.append(made, flat_ids[previous]), np.append(flat_ids[following], made)
    rows = np.append(row, previous_row % height)
    flat_order[np.append(here, previous)] = pairs.ranks(left, right) << ROW_BITS | rows
