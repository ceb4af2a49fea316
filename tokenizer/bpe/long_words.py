"""One very long word, many merges at a time: a megabyte without a space, a DNA sequence, a row of a million blanks.

Merges go by rank, and a merge can only create pairs that come later. So ranks are divided into *windows*: within a
window, no merge makes a token that any pair of the same window needs. Then all pairs of a window can be joined at once,
except where two of them overlap: there the lower rank is joined (of equal ranks, the left one).

The tokens are a linked list in arrays, as in heap.py. Pairs wait in a few arrays that are sorted by rank and position,
each at least twice as long as the next one. New pairs are a short array; short arrays are merged into longer ones, so a
pair is sorted again at most as often as its array doubles. Altogether that is O(n log n), up to another logarithm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import chain

import numpy as np

from tokenizer.arrays.number_table import NOT_FOUND
from tokenizer.arrays.ragged import position_in_run
from tokenizer.bpe.batch import OUTSIDE, PairTable
from tokenizer.bpe.heap import merge_heap
from tokenizer.bpe.merge_table import MergeTable, Pair, RankTable

RANK_SHIFT = 32  # a waiting pair is the number rank << 32 | position
MIN_MERGES_PER_WINDOW = 16  # on average; with fewer, a heap is faster


class LongWordMerger:
    def __init__(
        self,
        table: MergeTable | RankTable,
        pairs: PairTable,
        merges: Iterable[Pair],
        min_merges: int = MIN_MERGES_PER_WINDOW,
    ):
        """`merges` are the pairs that can occur in the merging of a word, whatever others the tables hold."""
        self._table = table
        self._pairs = pairs
        self._min_merges = min_merges
        self._windows = window_ends(merges, pairs)

    def merge(self, ids: np.ndarray) -> np.ndarray:
        """The result of `textbook.merge_word` for the ids of a word, (n,) int64."""
        if self._windows is None:
            return np.array(merge_heap(ids.tolist(), self._table), np.int64)
        ranks = self._pairs.ranks(ids[:-1], ids[1:])
        if (ranks == NOT_FOUND).all():
            return ids
        word = LinkedWord(ids, ranks, self._pairs)
        rounds = merges = 0
        while word.has_waiting and merges >= self._min_merges * (rounds - self._min_merges):
            end = self._windows[bisect_right(self._windows, word.lowest_rank)]
            merges += word.join_below(end)
            rounds += 1
        left = word.ids[word.ids != OUTSIDE]
        return np.array(merge_heap(left.tolist(), self._table), np.int64) if word.has_waiting else left


def window_ends(merges: Iterable[Pair], pairs: PairTable) -> list[int] | None:
    """The rank after the last one of each window.

    None if some merge needs a token that is only made by a later merge: then there is no safe order.
    """
    parts = np.fromiter(chain.from_iterable(merges), np.int64).reshape(-1, 2)
    ranks = pairs.ranks(parts[:, 0], parts[:, 1])
    made = pairs.new_ids[ranks]
    first_use = np.full(max(parts.max(initial=0), made.max(initial=0)) + 1, NOT_FOUND)  # of each token, by rank
    for part in parts.T:
        np.minimum.at(first_use, part, ranks)
    if (first_use[made] <= ranks).any():
        return None
    ends, limit = [], NOT_FOUND
    for rank, use in sorted(zip(ranks.tolist(), first_use[made].tolist())):
        if rank >= limit:
            ends.append(rank)
            limit = NOT_FOUND
        limit = min(limit, use)
    return [*ends, NOT_FOUND]


class LinkedWord:
    """A word while it is merged. `ids`, (n + 1,): a token is where its first byte was; everything else is OUTSIDE."""

    def __init__(self, ids: np.ndarray, ranks: np.ndarray, pairs: PairTable):
        """`ids`, (n,), of the bytes of the word, and the `ranks`, (n - 1,), of neighbours."""
        n = len(ids)
        self._pairs = pairs
        self.ids = np.append(ids, OUTSIDE)
        self._before = np.arange(-1, n)  # -1 is the last element, which is OUTSIDE: so the first token has a neighbour
        self._after = np.append(np.arange(1, n + 1), n)
        self._ranks = np.append(ranks, [NOT_FOUND, NOT_FOUND])
        self._waiting: list[np.ndarray] = []
        self._add_waiting(np.arange(n - 1), ranks)

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    @property
    def lowest_rank(self) -> int:
        return min(int(keys[0]) for keys in self._waiting) >> RANK_SHIFT

    def join_below(self, end: int) -> int:
        """Join all pairs whose ranks are below `end`, except where they overlap. Returns the number of merges."""
        keys = np.sort(self._take_waiting(end) & ((1 << RANK_SHIFT) - 1))
        left = keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]
        left = left[self._ranks[left] < end]  # the other pairs have lost a token since they began to wait
        left = left[self._wins(left)]
        right = self._after[left]
        following = self._after[right]
        self.ids[left] = self._pairs.new_ids[self._ranks[left]]
        self.ids[right] = OUTSIDE
        self._ranks[right] = NOT_FOUND
        self._after[left] = following
        self._before[following] = left
        before = self._before[left]
        self._update_ranks(np.concatenate([left, before[before >= 0]]))
        return len(left)

    def _wins(self, left: np.ndarray) -> np.ndarray:
        """Which of the pairs at the positions `left` (in order) are joined, where pairs overlap.

        The lowest rank is joined first and excludes its neighbours, then the lowest of the others, and so on. From each
        pair that is lower than both neighbours, ranks rise to both sides. On a slope every second pair is joined; a
        peak is joined if that is true from both sides.
        """
        ranks = self._ranks[left]
        overlap = self._after[left[:-1]] == left[1:]
        rises = overlap & (ranks[1:] >= ranks[:-1])  # of equal ranks the left one comes first
        falls = overlap & ~rises
        from_left = position_in_run(np.append(True, ~rises)[: len(left)])
        from_right = position_in_run(np.append(~falls, True)[::-1][: len(left)])[::-1]
        return (from_left % 2 == 0) & (from_right % 2 == 0)

    def _update_ranks(self, positions: np.ndarray) -> None:
        """Find the ranks of the pairs at these positions, and let those that can be joined wait."""
        ranks = self._pairs.ranks(self.ids[positions], self.ids[self._after[positions]])
        self._ranks[positions] = ranks
        self._add_waiting(positions, ranks)

    def _add_waiting(self, positions: np.ndarray, ranks: np.ndarray) -> None:
        can_join = ranks < NOT_FOUND
        keys = np.sort(ranks[can_join] << RANK_SHIFT | positions[can_join])
        while self._waiting and len(self._waiting[-1]) < 2 * len(keys):
            keys = np.sort(np.concatenate([keys, self._waiting.pop()]))
        if len(keys):
            self._waiting.append(keys)

    def _take_waiting(self, end: int) -> np.ndarray:
        """Remove the pairs with ranks below `end` from those that wait, and return their keys."""
        taken, waiting = [], []
        for keys in self._waiting:
            count = np.searchsorted(keys, end << RANK_SHIFT)
            taken.append(keys[:count])
            if count < len(keys):
                waiting.append(keys[count:])
        self._waiting = waiting
        return np.concatenate(taken)
