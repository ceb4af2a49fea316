"""Where the pairs of neighbours are in the words of a corpus, and how often: what the incremental trainer keeps up.

A merge changes only the pairs around the places where it happens. Three observations make this fast:

- Pairs only become rarer. All places of a pair are there from the start, or one merge makes them all; later merges can
  only take some away. So pairs below some `floor` need not be followed until all others are used up. Then a new index
  with a lower floor is made of what has become of the words.
- A pair that stands in many places is joined in all of them at once, by operations on arrays (`_merge_many`).
- One that stands in few places, as most do, is joined by a loop, which has less to set up (`_merge_few`).
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tokenizer.bpe.textbook import Pair

OUTSIDE = -1  # what lies before and after a word
JOINED = -2  # what a token leaves behind that has become part of the one before it
MANY = 64  # places, from which on arrays are faster than a loop


class Groups(NamedTuple):
    """Places (n,) brought together by k different keys: those of `keys[g]` are places[edges[g] : edges[g + 1]], in
    order, and `counts[g]` is the sum of their weights. `keys` and `counts` are (k,), `edges` is (k + 1,)."""

    keys: np.ndarray
    counts: np.ndarray
    edges: np.ndarray
    places: np.ndarray

    @staticmethod
    def of(keys: np.ndarray, places: np.ndarray, weights: np.ndarray) -> Groups:
        """`keys`, `places` and `weights` are (n,)."""
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
        counts = np.add.reduceat(weights[order], first)
        return Groups(keys[first], counts, np.append(first, len(keys)), places[order])

    def at_least(self, count: int) -> Iterable[tuple[int, int, np.ndarray]]:
        """Key, count and places of the groups with this count or a higher one."""
        chosen = np.flatnonzero(self.counts >= count)
        columns = self.keys[chosen], self.counts[chosen], self.edges[chosen], self.edges[chosen + 1]
        for key, count, start, end in zip(*(column.tolist() for column in columns)):
            yield key, count, self.places[start:end]


class WordRow:
    """All words in one row: `token` (n,) int32 with OUTSIDE before, between and after the words, and `weight` (n,)
    int64, how often the word of each place occurs."""

    def __init__(self, words: Mapping[bytes, int], byte_ids: Sequence[int]):
        """`byte_ids[b]` is the id of the byte b."""
        data = np.frombuffer(b"\0".join([b"", *words, b""]), np.uint8)
        sizes = 1 + np.fromiter(map(len, words), np.int64, len(words))
        self.token = np.array(byte_ids, np.int32)[data] if words else np.empty(1, np.int32)
        self.token[np.append(0, np.cumsum(sizes))] = OUTSIDE
        self.weight = np.append(0, np.repeat(np.fromiter(words.values(), np.int64, len(words)), sizes))

    def pairs(self) -> Groups:
        """The places of the left token of all pairs; the keys are `left << 32 | right`."""
        left, right = self.token[:-1], self.token[1:]
        places = np.flatnonzero((left >= 0) & (right >= 0)).astype(np.int32)
        return Groups.of(left[places].astype(np.int64) << 32 | right[places], places, self.weight[places])

    def close_up(self) -> None:
        """Leave out what is JOINED, and words that are a single token by now."""
        self._keep(self.token != JOINED)
        outside = self.token == OUTSIDE
        alone = ~outside
        alone[1:-1] &= outside[:-2] & outside[2:]
        self._keep(~alone)
        outside = self.token == OUTSIDE
        self._keep(~(outside & np.append(False, outside[:-1])))

    def _keep(self, places: np.ndarray) -> None:
        self.token, self.weight = self.token[places], self.weight[places]


class PairIndex:
    """`counts` and `places` (of the left token) of the pairs that occur at least `floor` times in `row`, which is
    changed with every merge."""

    def __init__(self, row: WordRow, pairs: Groups, floor: int):
        n = len(row.token)
        self.token, self.tokens = shared("i", row.token)
        self.before, self.befores = shared("i", np.arange(-1, n - 1, dtype=np.int32))  # a linked list, so that joining
        self.after, self.afters = shared("i", np.arange(1, n + 1, dtype=np.int32))  # two tokens moves nothing
        self.weight, self.weights = shared("q", row.weight)
        row.token = self.tokens

        self.floor = floor
        self.counts: dict[Pair, int] = {}
        self.places: dict[Pair, np.ndarray | list[int]] = {}
        for key, count, places in pairs.at_least(floor):
            self._add((key >> 32, key & 0xFFFFFFFF), count, places)

    def _add(self, pair: Pair, count: int, places: np.ndarray | list[int]) -> Pair:
        self.counts[pair], self.places[pair] = count, places
        return pair

    def merge(self, pair: Pair, joined: int) -> list[Pair]:
        """Join `pair` wherever it is to the new token `joined`. Returns the new pairs that are to be followed."""
        del self.counts[pair]
        places = self.places.pop(pair)
        if len(places) < MANY or pair[0] == pair[1]:  # in aaa the first pair takes from the second: one by one
            return self._merge_few(pair, joined, places)
        return self._merge_many(pair, joined, np.asarray(places))

    def _merge_few(self, pair: Pair, joined: int, places: np.ndarray | list[int]) -> list[Pair]:
        left, right = pair
        token, before, after, weight, counts = self.token, self.before, self.after, self.weight, self.counts
        made: defaultdict[Pair, int] = defaultdict(int)
        made_at: defaultdict[Pair, list[int]] = defaultdict(list)
        for i in places.tolist() if isinstance(places, np.ndarray) else places:  # left to right: aaa becomes (aa)a
            j = after[i]
            if token[i] != left or token[j] != right:
                continue  # an earlier merge took one of the two
            h, k, count = before[i], after[j], weight[i]
            token[i], token[j] = joined, JOINED
            after[i], before[k] = k, i
            for old, new, place in (
                ((token[h], left), (token[h], joined), h),
                ((right, token[k]), (joined, token[k]), i),
            ):
                if new[0] >= 0 and new[1] >= 0:
                    if old in counts:
                        counts[old] -= count
                    elif old in made:
                        made[old] -= count
                    made[new] += count
                    made_at[new].append(place)
        return [self._add(new, count, made_at[new]) for new, count in made.items() if count >= self.floor]

    def _merge_many(self, pair: Pair, joined: int, i: np.ndarray) -> list[Pair]:
        """The same for all places `i` (n,) at once."""
        left, right = pair
        token, befores, afters = self.tokens, self.befores, self.afters
        i = i[(token[i] == left) & (token[afters[i]] == right)]  # an earlier merge may have taken one of the two
        j = afters[i]
        h, k = befores[i], afters[j]
        lefts, rights = token[h], token[k]
        token[i], token[j] = joined, JOINED
        afters[i], befores[k] = k, i

        # In abab, what is between the two is looked at once, as that which is right of the first.
        before = (lefts >= 0) & (token[h] != JOINED)
        twin = token[k] == joined
        behind = (rights >= 0) & ~twin
        return [
            *self._replace(lefts[before], h[before], lambda t: (t, left), lambda t: (t, joined)),
            *self._replace(rights[behind], i[behind], lambda t: (right, t), lambda t: (joined, t)),
            *self._replace(rights[twin], i[twin], lambda t: (right, t), lambda t: (joined, joined)),
        ]

    def _replace(
        self, neighbours: np.ndarray, places: np.ndarray, old: Callable[[int], Pair], new: Callable[[int], Pair]
    ) -> list[Pair]:
        """With each of the `neighbours` (n,), the pair `old(neighbour)` has become `new(neighbour)` at its place."""
        groups = Groups.of(neighbours, places, self.weights[places])
        for neighbour, count in zip(groups.keys.tolist(), groups.counts.tolist()):
            pair = old(neighbour)
            if pair in self.counts:
                self.counts[pair] -= count
        return [self._add(new(neighbour), count, at) for neighbour, count, at in groups.at_least(self.floor)]


def shared(kind: str, values: np.ndarray) -> tuple[array, np.ndarray]:
    """A copy of `values` as an `array` of Python, which is faster for single elements, and as NumPy's, for many: both
    have the same memory."""
    single = array(kind)
    single.frombytes(values.tobytes())
    return single, np.frombuffer(single, values.dtype)
