"""One very long word, many merges at a time: a megabyte without a space, a DNA sequence, a million spaces.

Pairs are merged in the order of their ranks. A merge was learned after the merges that made its two parts. So a pair
that contains the new token of a merge has a higher rank than this merge. Therefore ranks are divided into *windows*,
such that no merge of a window makes a token that another merge of the same window needs. All pairs of a window are
merged at once, except where two overlap: there the pair of the lower rank is merged (of equal ranks, the left one).

The tokens are a linked list in arrays, as in heap.py. The queue of the pairs consists of a few sorted arrays, each at
least twice as long as the next one. New pairs form a short array at the end, and short arrays are sorted together into
longer ones. So each pair is sorted O(log n) times, and a word of n bytes takes about O(n log^2 n) steps.
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

RANK_SHIFT = 32  # a pair in the queue is the number rank << 32 | position, its key
MIN_MERGES_PER_WINDOW = 16  # on average; with fewer, a heap is faster


class LongWordMerger:
    def __init__(
        self,
        table: MergeTable | RankTable,
        pairs: PairTable,
        merges: Iterable[Pair],
        min_merges: int = MIN_MERGES_PER_WINDOW,
    ):
        """`merges` are the pairs that can occur in a word. (The table of OpenAI's tokens has more: any two tokens that
        together are a token. But most of these never stand side by side.)"""
        self._table = table
        self._pairs = pairs
        self._min_merges = min_merges
        self._windows = window_ends(merges, pairs)

    def merge(self, ids: np.ndarray) -> np.ndarray:
        """The same ids as `merge_table.merge_word`, from the ids of the bytes of a word, (n,) int64."""
        if self._windows is None:
            return np.array(merge_heap(ids.tolist(), self._table), np.int64)
        ranks = self._pairs.ranks(ids[:-1], ids[1:])
        if (ranks == NOT_FOUND).all():
            return ids
        word = LinkedWord(ids, ranks, self._pairs)
        rounds = merges = 0
        # Stop if the rounds have made fewer than `min_merges` merges on average. The first `min_merges` rounds are not
        # counted, so that a slow beginning does not stop the work.
        while word.has_pairs and merges >= self._min_merges * (rounds - self._min_merges):
            end = self._windows[bisect_right(self._windows, word.lowest_rank)]
            merges += word.merge_below(end)
            rounds += 1
        ids = word.ids[word.ids != OUTSIDE]
        return np.array(merge_heap(ids.tolist(), self._table), np.int64) if word.has_pairs else ids


def window_ends(merges: Iterable[Pair], pairs: PairTable) -> list[int] | None:
    """Where the windows end: for each window, the rank after its last one.

    None if some merge needs a token that only a merge of a higher rank makes. Then windows would give wrong ids.
    """
    parts = np.fromiter(chain.from_iterable(merges), np.int64).reshape(-1, 2)
    ranks = pairs.ranks(parts[:, 0], parts[:, 1])
    made = pairs.new_ids[ranks]  # the token that each merge makes
    # For each token, the lowest rank of the merges that it is a part of.
    first_use = np.full(max(parts.max(initial=0), made.max(initial=0)) + 1, NOT_FOUND)
    for part in parts.T:
        np.minimum.at(first_use, part, ranks)
    if (first_use[made] <= ranks).any():
        return None
    ends, limit = [], NOT_FOUND  # `limit`: the lowest rank that uses a token made in the present window
    for rank, use in sorted(zip(ranks.tolist(), first_use[made].tolist())):
        if rank >= limit:
            ends.append(rank)
            limit = NOT_FOUND
        limit = min(limit, use)
    return [*ends, NOT_FOUND]


class LinkedWord:
    """A word of n bytes while it is merged, with a queue of the pairs that can be merged.

    `ids`, (n + 1,): the id of a token is at the position of its first byte; all other elements are OUTSIDE.
    """

    def __init__(self, ids: np.ndarray, ranks: np.ndarray, pairs: PairTable):
        """`ids`, (n,), are those of the bytes, `ranks`, (n - 1,), those of each byte with the next one."""
        n = len(ids)
        self._pairs = pairs
        self.ids = np.append(ids, OUTSIDE)
        self._before = np.arange(-1, n)  # position -1 is the last element, which is OUTSIDE
        self._after = np.append(np.arange(1, n + 1), n)
        self._ranks = np.append(ranks, [NOT_FOUND, NOT_FOUND])
        self._queue: list[np.ndarray] = []
        self._add_pairs(np.arange(n - 1), ranks)

    @property
    def has_pairs(self) -> bool:
        return bool(self._queue)

    @property
    def lowest_rank(self) -> int:
        return min(int(keys[0]) for keys in self._queue) >> RANK_SHIFT

    def merge_below(self, end: int) -> int:
        """Merge all pairs whose ranks are below `end`, except where they overlap. Returns the number of merges."""
        left = np.sort(self._take_pairs(end) & ((1 << RANK_SHIFT) - 1))  # the positions of the pairs
        left = left[np.append(True, left[1:] != left[:-1])[: len(left)]]  # each once; np.unique is several times slower
        left = left[self._ranks[left] < end]  # the pairs of other keys do not exist any more: merges changed them
        left = left[self._is_merged(left)]
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

    def _is_merged(self, left: np.ndarray) -> np.ndarray:
        """Which of the pairs at the positions `left` (in order) are merged, where pairs overlap. (k,) bool.

        In a run of overlapping pairs, the pair of the lowest rank is merged, which excludes its two neighbours; then
        the lowest of the others, and so on. Let the ranks be a line with valleys and peaks:

            rank       3  1  2  5  4       (five pairs, each overlaps the next)
            merged     -  x  -  -  x       1 excludes 3 and 2; of the others, 4 is lower and excludes 5

        Each valley is merged. From a valley up a slope, every second pair is merged. A peak is the end of two slopes:
        it is merged if it is such a second pair on both.
        """
        ranks = self._ranks[left]
        overlap = self._after[left[:-1]] == left[1:]
        rises = overlap & (ranks[1:] >= ranks[:-1])  # of equal ranks the left one comes first
        falls = overlap & ~rises
        from_left = position_in_run(np.append(True, ~rises)[: len(left)])
        from_right = position_in_run(np.append(~falls, True)[::-1][: len(left)])[::-1]
        return (from_left % 2 == 0) & (from_right % 2 == 0)

    def _update_ranks(self, positions: np.ndarray) -> None:
        """Look up the ranks of the pairs at these positions, and add the pairs that can be merged to the queue."""
        ranks = self._pairs.ranks(self.ids[positions], self.ids[self._after[positions]])
        self._ranks[positions] = ranks
        self._add_pairs(positions, ranks)

    def _add_pairs(self, positions: np.ndarray, ranks: np.ndarray) -> None:
        is_pair = ranks < NOT_FOUND
        keys = np.sort(ranks[is_pair] << RANK_SHIFT | positions[is_pair])
        while self._queue and len(self._queue[-1]) < 2 * len(keys):
            keys = np.sort(np.concatenate([keys, self._queue.pop()]))
        if len(keys):
            self._queue.append(keys)

    def _take_pairs(self, end: int) -> np.ndarray:
        """Remove the pairs with ranks below `end` from the queue, and return their keys."""
        taken, queue = [], []
        for keys in self._queue:
            count = np.searchsorted(keys, end << RANK_SHIFT)
            taken.append(keys[:count])
            if count < len(keys):
                queue.append(keys[count:])
        self._queue = queue
        return np.concatenate(taken)
