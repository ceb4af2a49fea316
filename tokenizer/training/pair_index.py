"""Where each pair of neighbours is in the words of a corpus, and how often it occurs, updated by each merge.

A merge changes only the pairs next to it. Three observations make this fast:

- Pairs only become rarer. A pair has all its positions from the beginning, or gets all of them from a single merge, and
  later merges can only remove some. So pairs that occur less than `floor` times need no index as long as more
  frequent pairs are left. When none is left, a new index with a lower floor is built from the words, which are much
  shorter by then.
- A pair with many positions is merged at all of them at once, by array operations (`_merge_with_arrays`).
- A pair with few positions (most pairs) is merged by a loop, which has less overhead (`_merge_one_by_one`).
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tokenizer.bpe.merge_table import Pair

OUTSIDE = -1  # stands before and after a word
MERGED = -2  # stands where the right part of a merge was
MIN_POSITIONS_FOR_ARRAYS = 64  # from this number of positions on, arrays are faster than a loop


class Groups(NamedTuple):
    """n positions grouped by k different keys, with the sum of the weights of each group.

    The positions with the key `keys[g]` are positions[edges[g] : edges[g + 1]], in order, and `counts[g]` is the sum of
    their weights. `keys` and `counts` are (k,), `edges` is (k + 1,), `positions` is (n,).
    """

    keys: np.ndarray
    counts: np.ndarray
    edges: np.ndarray
    positions: np.ndarray

    @staticmethod
    def by_key(keys: np.ndarray, positions: np.ndarray, weights: np.ndarray) -> Groups:
        """`keys`, `positions` and `weights` are (n,)."""
        order = np.argsort(keys, kind="stable")  # stable: within a group, positions stay in their order
        keys = keys[order]
        # Where a new key begins. (The slice is for arrays without any element.)
        first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
        counts = np.add.reduceat(weights[order], first)
        return Groups(keys[first], counts, np.append(first, len(keys)), positions[order])

    def at_least(self, count: int) -> Iterable[tuple[int, int, np.ndarray]]:
        """Key, count and positions of the groups with at least this count."""
        chosen = np.flatnonzero(self.counts >= count)
        columns = self.keys[chosen], self.counts[chosen], self.edges[chosen], self.edges[chosen + 1]
        for key, count, start, end in zip(*(column.tolist() for column in columns)):
            yield key, count, self.positions[start:end]


class WordRow:
    """All words in one array.

    `tokens`, (n,) int32, are the tokens of the words, with OUTSIDE before, between and after words. `weights`, (n,)
    int64, says for each position how often its word occurs.
    """

    def __init__(self, words: Mapping[bytes, int], byte_ids: Sequence[int]):
        """`byte_ids[b]` is the id of the byte b."""
        # The zeros between the words are replaced by OUTSIDE; zeros within a word stay.
        data = np.frombuffer(b"\0".join([b"", *words, b""]), np.uint8)
        sizes = 1 + np.fromiter(map(len, words), np.int64, len(words))
        self.tokens = np.array(byte_ids, np.int32)[data] if words else np.empty(1, np.int32)
        self.tokens[np.append(0, np.cumsum(sizes))] = OUTSIDE
        self.weights = np.append(0, np.repeat(np.fromiter(words.values(), np.int64, len(words)), sizes))

    def pairs(self) -> Groups:
        """The positions of all pairs (of their left tokens). The keys are `left << 32 | right`."""
        left, right = self.tokens[:-1], self.tokens[1:]
        positions = np.flatnonzero((left >= 0) & (right >= 0)).astype(np.int32)
        keys = left[positions].astype(np.int64) << 32 | right[positions]
        return Groups.by_key(keys, positions, self.weights[positions])

    def remove_merged(self) -> None:
        """Remove what is MERGED, and words that are a single token by now."""
        self._select(self.tokens != MERGED)
        # A token between two OUTSIDE is a whole word. No merge can change it any more.
        outside = self.tokens == OUTSIDE
        is_single = ~outside
        is_single[1:-1] &= outside[:-2] & outside[2:]
        self._select(~is_single)
        # Of several OUTSIDE in a row, the first one stays.
        outside = self.tokens == OUTSIDE
        self._select(~(outside & np.append(False, outside[:-1])))

    def _select(self, is_kept: np.ndarray) -> None:
        self.tokens, self.weights = self.tokens[is_kept], self.weights[is_kept]


class TwoViews(NamedTuple):
    """The same memory twice: as `array`, which is faster for single elements, and as NumPy's array."""

    single: array
    numpy: np.ndarray

    @classmethod
    def of(cls, typecode: str, values: np.ndarray) -> TwoViews:
        """A copy of `values`."""
        single = array(typecode)
        single.frombytes(values.tobytes())
        return cls(single, np.frombuffer(single, values.dtype))


class PairIndex:
    """`counts` and `positions` (of the left token) of the pairs that occur at least `floor` times in `row`.

    Merges change `row` too.
    """

    def __init__(
        self, row: WordRow, pairs: Groups, floor: int, min_positions_for_arrays: int = MIN_POSITIONS_FOR_ARRAYS
    ):
        n = len(row.tokens)
        self._tokens = TwoViews.of("i", row.tokens)
        self._weights = TwoViews.of("q", row.weights)
        # A linked list, so that a merge moves no token: the positions of the neighbours of each token.
        self._before = TwoViews.of("i", np.arange(-1, n - 1, dtype=np.int32))
        self._after = TwoViews.of("i", np.arange(1, n + 1, dtype=np.int32))
        row.tokens = self._tokens.numpy

        self.floor = floor
        self.min_positions_for_arrays = min_positions_for_arrays
        self.counts: dict[Pair, int] = {}
        self.positions: dict[Pair, np.ndarray | list[int]] = {}
        for key, count, positions in pairs.at_least(floor):
            self._add((key >> 32, key & 0xFFFFFFFF), count, positions)

    def _add(self, pair: Pair, count: int, positions: np.ndarray | list[int]) -> Pair:
        self.counts[pair], self.positions[pair] = count, positions
        return pair

    def merge(self, pair: Pair, new_id: int) -> list[Pair]:
        """Replace `pair` by the token `new_id`, wherever it is. Returns the new pairs that occur `floor` times."""
        del self.counts[pair]
        positions = self.positions.pop(pair)
        # In aaa the two pairs overlap, and only the first one is merged. So equal tokens are merged one by one.
        if len(positions) < self.min_positions_for_arrays or pair[0] == pair[1]:
            return self._merge_one_by_one(pair, new_id, positions)
        return self._merge_with_arrays(pair, new_id, np.asarray(positions))

    # Both ways name the positions of four neighbours h, i, j, k. The pair is at i and j:
    #     before    h  left  right  k
    #     after     h  new_id       k

    def _merge_one_by_one(self, pair: Pair, new_id: int, positions: np.ndarray | list[int]) -> list[Pair]:
        left, right = pair
        token, weight = self._tokens.single, self._weights.single
        before, after, counts = self._before.single, self._after.single, self.counts
        made: defaultdict[Pair, int] = defaultdict(int)  # the counts of the new pairs
        made_at: defaultdict[Pair, list[int]] = defaultdict(list)  # and their positions
        # From left to right: aaa becomes (aa)a.
        for i in positions.tolist() if isinstance(positions, np.ndarray) else positions:
            j = after[i]
            if token[i] != left or token[j] != right:
                continue  # an earlier merge has taken one of the two
            h, k, count = before[i], after[j], weight[i]
            token[i], token[j] = new_id, MERGED
            after[i], before[k] = k, i
            first, last = token[h], token[k]
            changes = ((first, left), (first, new_id), h), ((right, last), (new_id, last), i)
            for old, new, position in changes:
                if new[0] >= 0 and new[1] >= 0:
                    if old in counts:
                        counts[old] -= count
                    elif old in made:  # the step before made this pair: abab -> (ab)ab -> (ab)(ab); here it is (ab) a
                        made[old] -= count
                    made[new] += count
                    made_at[new].append(position)
        return [self._add(new, count, made_at[new]) for new, count in made.items() if count >= self.floor]

    def _merge_with_arrays(self, pair: Pair, new_id: int, i: np.ndarray) -> list[Pair]:
        """The same at all positions `i`, (n,), at once."""
        left, right = pair
        token, before, after = self._tokens.numpy, self._before.numpy, self._after.numpy
        i = i[(token[i] == left) & (token[after[i]] == right)]  # an earlier merge may have taken one of the two
        j = after[i]
        h, k = before[i], after[j]
        first, last = token[h], token[k]
        token[i], token[j] = new_id, MERGED
        after[i], before[k] = k, i

        # In abab the two new tokens are neighbours, and their pair is counted once: as the right pair of the first ab
        # (`next_is_new`). The second ab has no left pair to count: its h is the b of the first ab, now MERGED.
        has_left = (first >= 0) & (token[h] != MERGED)
        next_is_new = token[k] == new_id
        has_right = (last >= 0) & ~next_is_new
        return [
            *self._replace(first[has_left], h[has_left], lambda t: (t, left), lambda t: (t, new_id)),
            *self._replace(last[has_right], i[has_right], lambda t: (right, t), lambda t: (new_id, t)),
            *self._replace(last[next_is_new], i[next_is_new], lambda t: (right, t), lambda t: (new_id, new_id)),
        ]

    def _replace(
        self, neighbours: np.ndarray, positions: np.ndarray, old: Callable[[int], Pair], new: Callable[[int], Pair]
    ) -> list[Pair]:
        """At each of `positions`, (n,), the pair `old(neighbour)` has become `new(neighbour)`."""
        groups = Groups.by_key(neighbours, positions, self._weights.numpy[positions])
        for neighbour, count in zip(groups.keys.tolist(), groups.counts.tolist()):
            pair = old(neighbour)
            if pair in self.counts:
                self.counts[pair] -= count
        return [self._add(new(neighbour), count, at) for neighbour, count, at in groups.at_least(self.floor)]
