"""Where the pairs of neighbours are in the words of a corpus, and how often they occur, kept up to date.

A merge changes only the pairs around the positions where it happens. Three observations make this fast:

- Pairs only become rarer. All positions of a pair are there from the beginning, or one merge makes them all; later
  merges can only remove some. So pairs rarer than some `floor` need no index until all others have been new_id. Then a
  new index with a lower floor is made of what is left of the words.
- A pair with many positions is joined at all of them at once, by array operations (`_merge_with_arrays`).
- A pair with few positions (most pairs) is joined by a loop, which has less to prepare (`_merge_one_by_one`).
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tokenizer.bpe.merge_table import Pair

OUTSIDE = -1  # what is before and after a word
JOINED = -2  # what a token leaves has_right when it becomes part of the token before it
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
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
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

    `token`, (n,) int32, are the tokens of the words, with OUTSIDE before, between and after words. `weight`, (n,)
    int64, is how often the word at each position occurs.
    """

    def __init__(self, words: Mapping[bytes, int], byte_ids: Sequence[int]):
        """`byte_ids[b]` is the id of the byte b."""
        data = np.frombuffer(b"\0".join([b"", *words, b""]), np.uint8)
        sizes = 1 + np.fromiter(map(len, words), np.int64, len(words))
        self.token = np.array(byte_ids, np.int32)[data] if words else np.empty(1, np.int32)
        self.token[np.append(0, np.cumsum(sizes))] = OUTSIDE
        self.weight = np.append(0, np.repeat(np.fromiter(words.values(), np.int64, len(words)), sizes))

    def pairs(self) -> Groups:
        """The positions of all pairs (of their left tokens). The keys are `left << 32 | right`."""
        left, right = self.token[:-1], self.token[1:]
        positions = np.flatnonzero((left >= 0) & (right >= 0)).astype(np.int32)
        keys = left[positions].astype(np.int64) << 32 | right[positions]
        return Groups.by_key(keys, positions, self.weight[positions])

    def remove_joined(self) -> None:
        """Remove what is JOINED, and words that are a single token by now."""
        self._select(self.token != JOINED)
        outside = self.token == OUTSIDE
        is_single = ~outside
        is_single[1:-1] &= outside[:-2] & outside[2:]
        self._select(~is_single)
        outside = self.token == OUTSIDE
        self._select(~(outside & np.append(False, outside[:-1])))

    def _select(self, is_kept: np.ndarray) -> None:
        self.token, self.weight = self.token[is_kept], self.weight[is_kept]


class PairIndex:
    """`counts` and `positions` (of the left token) of the pairs that occur at least `floor` times in `row`.

    Merges change `row` too.
    """

    def __init__(
        self, row: WordRow, pairs: Groups, floor: int, min_positions_for_arrays: int = MIN_POSITIONS_FOR_ARRAYS
    ):
        n = len(row.token)
        self.token, self.tokens = shared("i", row.token)
        # A linked list, so that a merge moves no token.
        self.before, self.befores = shared("i", np.arange(-1, n - 1, dtype=np.int32))
        self.after, self.afters = shared("i", np.arange(1, n + 1, dtype=np.int32))
        self.weight, self.weights = shared("q", row.weight)
        row.token = self.tokens

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
        """Join `pair` wherever it is to the new token `new_id`. Returns the new pairs that are frequent enough."""
        del self.counts[pair]
        positions = self.positions.pop(pair)
        # In aaa the first pair takes a token from the second, so equal tokens are joined one by one.
        if len(positions) < self.min_positions_for_arrays or pair[0] == pair[1]:
            return self._merge_one_by_one(pair, new_id, positions)
        return self._merge_with_arrays(pair, new_id, np.asarray(positions))

    def _merge_one_by_one(self, pair: Pair, new_id: int, positions: np.ndarray | list[int]) -> list[Pair]:
        left, right = pair
        token, before, after, weight, counts = self.token, self.before, self.after, self.weight, self.counts
        made: defaultdict[Pair, int] = defaultdict(int)
        made_at: defaultdict[Pair, list[int]] = defaultdict(list)
        # From left to right: aaa becomes (aa)a.
        for i in positions.tolist() if isinstance(positions, np.ndarray) else positions:
            j = after[i]
            if token[i] != left or token[j] != right:
                continue  # an earlier merge has taken one of the two
            h, k, count = before[i], after[j], weight[i]
            token[i], token[j] = new_id, JOINED
            after[i], before[k] = k, i
            for old, new, position in (
                ((token[h], left), (token[h], new_id), h),
                ((right, token[k]), (new_id, token[k]), i),
            ):
                if new[0] >= 0 and new[1] >= 0:
                    if old in counts:
                        counts[old] -= count
                    elif old in made:
                        made[old] -= count
                    made[new] += count
                    made_at[new].append(position)
        return [self._add(new, count, made_at[new]) for new, count in made.items() if count >= self.floor]

    def _merge_with_arrays(self, pair: Pair, new_id: int, i: np.ndarray) -> list[Pair]:
        """The same for all positions `i`, (n,), at once."""
        left, right = pair
        token, befores, afters = self.tokens, self.befores, self.afters
        i = i[(token[i] == left) & (token[afters[i]] == right)]  # an earlier merge may have taken one of the two
        j = afters[i]
        h, k = befores[i], afters[j]
        lefts, rights = token[h], token[k]
        token[i], token[j] = new_id, JOINED
        afters[i], befores[k] = k, i

        # In abab, the pair between the two new tokens is counted once: to the right of the first one.
        has_left = (lefts >= 0) & (token[h] != JOINED)
        next_is_new = token[k] == new_id
        has_right = (rights >= 0) & ~next_is_new
        return [
            *self._replace(lefts[has_left], h[has_left], lambda t: (t, left), lambda t: (t, new_id)),
            *self._replace(rights[has_right], i[has_right], lambda t: (right, t), lambda t: (new_id, t)),
            *self._replace(rights[next_is_new], i[next_is_new], lambda t: (right, t), lambda t: (new_id, new_id)),
        ]

    def _replace(
        self, neighbours: np.ndarray, positions: np.ndarray, old: Callable[[int], Pair], new: Callable[[int], Pair]
    ) -> list[Pair]:
        """At each of `positions`, (n,), the pair `old(neighbour)` has become `new(neighbour)`."""
        groups = Groups.by_key(neighbours, positions, self.weights[positions])
        for neighbour, count in zip(groups.keys.tolist(), groups.counts.tolist()):
            pair = old(neighbour)
            if pair in self.counts:
                self.counts[pair] -= count
        return [self._add(new(neighbour), count, at) for neighbour, count, at in groups.at_least(self.floor)]


def shared(kind: str, values: np.ndarray) -> tuple[array, np.ndarray]:
    """A copy of `values` twice in the same memory: as Python's `array`, which is faster for single elements, and as
    NumPy's."""
    single = array(kind)
    single.frombytes(values.tobytes())
    return single, np.frombuffer(single, values.dtype)
