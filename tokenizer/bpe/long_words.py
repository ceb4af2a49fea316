"""The merges of one very long word, many at a time: a megabyte without a space, a DNA sequence, a row of a million
blanks.

Merges go by rank, and one can only bring about a pair that comes later. So ranks are divided into *windows*: in a
window, no merge makes a token that any pair of the same window needs. The pairs of a window can therefore all be joined
at once, but for those that overlap, of which the lower rank (among equals, the left one) has its way.

The tokens are a linked list in arrays, as in bpe.merge_heap. Pairs wait, sorted by rank and place, in a few arrays of
which each is at least twice as long as the next: what is new is a short array, and short ones are joined to longer
ones, so that a pair is sorted again at most as often as its array doubles. All in all O(n log n), up to another
logarithm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import chain

import numpy as np

from tokenizer.arrays.number_table import NEVER
from tokenizer.bpe.batch import OUTSIDE, PairTable
from tokenizer.bpe.textbook import MergeTable, Pair, RankTable, merge_heap
from tokenizer.split.boundaries import place_in_run

RANK_BITS = 32  # a pair that waits is the number rank << 32 | place
ENOUGH = 16  # merges a window on average: with fewer, a heap is faster


class LongWordMerger:
    def __init__(self, table: MergeTable | RankTable, pairs: PairTable, merges: Iterable[Pair]):
        """`merges` are the pairs that are joined at all, whatever others the tables hold."""
        self._table = table
        self._pairs = pairs
        self._windows = windows(merges, pairs)

    def merge(self, ids: np.ndarray) -> np.ndarray:
        """What `merge_textbook` gives for a row of ids, (n,) int64."""
        if self._windows is None:
            return np.array(merge_heap(ids.tolist(), self._table), np.int64)
        ranks = self._pairs.ranks(ids[:-1], ids[1:])
        if (ranks == NEVER).all():
            return ids
        word = LinkedWord(ids, ranks, self._pairs)
        rounds = merges = 0
        while word.is_waiting and merges >= ENOUGH * (rounds - ENOUGH):
            end = self._windows[bisect_right(self._windows, word.lowest_rank)]
            merges += word.join_all(end)
            rounds += 1
        left = word.ids[word.ids != OUTSIDE]
        return np.array(merge_heap(left.tolist(), self._table), np.int64) if word.is_waiting else left


def windows(merges: Iterable[Pair], pairs: PairTable) -> list[int] | None:
    """The first rank of each window but the first, and one that no pair has. None if some merge needs a token that is
    only made later: then nothing is certain about the order."""
    parts = np.fromiter(chain.from_iterable(merges), np.int64).reshape(-1, 2)
    ranks = pairs.ranks(parts[:, 0], parts[:, 1])
    made = pairs.joined[ranks]
    first_use = np.full(max(parts.max(initial=0), made.max(initial=0)) + 1, NEVER)
    for part in parts.T:
        np.minimum.at(first_use, part, ranks)
    if (first_use[made] <= ranks).any():
        return None
    edges, limit = [], NEVER
    for rank, use in sorted(zip(ranks.tolist(), first_use[made].tolist())):
        if rank >= limit:
            edges.append(rank)
            limit = NEVER
        limit = min(limit, use)
    return [*edges, NEVER]


class LinkedWord:
    """`ids` (n + 1,): a token stands where its first byte was, all else is OUTSIDE, as is the end. At first they are
    the given ones, (n,), whose neighbours have the given `ranks`, (n - 1,).
    """

    def __init__(self, ids: np.ndarray, ranks: np.ndarray, pairs: PairTable):
        n = len(ids)
        self._pairs = pairs
        self.ids = np.append(ids, OUTSIDE)
        self._before = np.arange(-1, n)  # -1 is the end, which is OUTSIDE: so the first token has a neighbour
        self._after = np.append(np.arange(1, n + 1), n)
        self._ranks = np.append(ranks, [NEVER, NEVER])
        self._waiting: list[np.ndarray] = []
        self._let_wait(np.arange(n - 1), ranks)

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    @property
    def lowest_rank(self) -> int:
        return min(int(keys[0]) for keys in self._waiting) >> RANK_BITS

    def join_all(self, end: int) -> int:
        """Join all pairs whose ranks are below `end`, as far as they do not overlap; how many it were."""
        keys = np.sort(self._take(end) & ((1 << RANK_BITS) - 1))
        at = keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]
        at = at[self._ranks[at] < end]  # others have lost a part since they began to wait
        at = at[self._prevails(at)]
        right = self._after[at]
        following = self._after[right]
        self.ids[at] = self._pairs.joined[self._ranks[at]]
        self.ids[right] = OUTSIDE
        self._ranks[right] = NEVER
        self._after[at] = following
        self._before[following] = at
        before = self._before[at]
        self._look_at(np.concatenate([at, before[before >= 0]]))
        return len(at)

    def _prevails(self, at: np.ndarray) -> np.ndarray:
        """Which of the pairs at these places (in order) are joined, if the lowest is first and takes its neighbours
        away, then the lowest of the others, and so on. From each pair that is lower than its neighbours, ranks rise to
        both sides; on the way up every second pair is joined, and a peak is if that holds from both sides.
        """
        ranks = self._ranks[at]
        overlap = self._after[at[:-1]] == at[1:]
        rises = overlap & (ranks[1:] >= ranks[:-1])  # of equals the left one is lower
        falls = overlap & ~rises
        from_left = place_in_run(np.append(True, ~rises)[: len(at)])
        from_right = place_in_run(np.append(~falls, True)[::-1][: len(at)])[::-1]
        return (from_left % 2 == 0) & (from_right % 2 == 0)

    def _look_at(self, places: np.ndarray) -> None:
        """Find the ranks of the pairs at these places, and let those that can be joined wait."""
        ranks = self._pairs.ranks(self.ids[places], self.ids[self._after[places]])
        self._ranks[places] = ranks
        self._let_wait(places, ranks)

    def _let_wait(self, places: np.ndarray, ranks: np.ndarray) -> None:
        joinable = ranks < NEVER
        keys = np.sort(ranks[joinable] << RANK_BITS | places[joinable])
        while self._waiting and len(self._waiting[-1]) < 2 * len(keys):
            keys = np.sort(np.concatenate([keys, self._waiting.pop()]))
        if len(keys):
            self._waiting.append(keys)

    def _take(self, end: int) -> np.ndarray:
        """The pairs of ranks below `end`, which do not wait any longer."""
        taken, waiting = [], []
        for keys in self._waiting:
            count = np.searchsorted(keys, end << RANK_BITS)
            taken.append(keys[:count])
            if count < len(keys):
                waiting.append(keys[count:])
        self._waiting = waiting
        return np.concatenate(taken)
