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
from collections.abc import Callable

import numpy as np

from tokenizer.bpe.merge_table import Pair
from tokenizer.training.word_row import END, MERGED, OUTSIDE, Groups, WordRow

MIN_POSITIONS_FOR_ARRAYS = 64  # from this number of positions on, arrays are faster than a loop
Positions = np.ndarray | array


class PairIndex:
    """The `counts` and `positions` (those of the left tokens) of the pairs that occur at least `floor` times in `row`.

    Merges change the tokens of `row`, but move none of them. A token that was made covers the positions of its parts:

        a  b  c  d          four tokens, one position each
        X  .  . -X          after three merges: the id at the first position, END - id at the last, MERGED between

    So its neighbours are found without a list of links. All tokens of one id have the same length: a merge makes
    all of them, from the same parts.
    """

    def __init__(
        self, row: WordRow, pairs: Groups, floor: int, min_positions_for_arrays: int = MIN_POSITIONS_FOR_ARRAYS
    ):
        self._tokens, self._weights = row.tokens, row.weights
        highest = int(row.tokens.numpy.max(initial=0))
        self._lengths = array("i", [1]) * (highest + 1)  # of the token of each id, in positions
        self.floor = floor
        self.min_positions_for_arrays = min_positions_for_arrays
        self.counts: dict[Pair, int] = {}
        self.positions: dict[Pair, Positions] = {}
        for key, count, positions in pairs.at_least(floor):
            self._add((key >> 32, key & 0xFFFFFFFF), count, positions)

    def _add(self, pair: Pair, count: int, positions: Positions) -> Pair:
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

    def _add_length(self, pair: Pair, new_id: int) -> tuple[int, int]:
        """Note the length of the token that `pair` makes. Returns that of its left part and that of the token."""
        lengths = self._lengths
        left, both = lengths[pair[0]], lengths[pair[0]] + lengths[pair[1]]
        lengths.extend([1] * (new_id + 1 - len(lengths)))  # ids without a place in the row get any length
        lengths[new_id] = both
        return left, both

    # Both methods below name the positions of four neighbours h, i, j, k. The pair is at i and j:
    #     before    h  left  right  k
    #     after     h  new_id       k

    def _merge_one_by_one(self, pair: Pair, new_id: int, positions: Positions) -> list[Pair]:
        left, right = pair
        to_right, to_end = self._add_length(pair, new_id)
        token, weight, lengths, counts = self._tokens.single, self._weights.single, self._lengths, self.counts
        made: defaultdict[Pair, int] = defaultdict(int)  # the counts of the new pairs
        made_at: defaultdict[Pair, list[int]] = defaultdict(list)  # and their positions
        # From left to right: aaa becomes (aa)a.
        for i in positions.tolist():
            j = i + to_right
            if token[i] != left or token[j] != right:
                continue  # an earlier merge has taken one of the two
            before, k, count = token[i - 1], i + to_end, weight[i]
            h = i - 1 if before >= OUTSIDE else i - lengths[END - before]
            token[j - 1] = token[j] = MERGED
            token[i], token[k - 1] = new_id, END - new_id
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
        frequent = [(new, count) for new, count in made.items() if count >= self.floor]
        return [self._add(new, count, array("i", made_at[new])) for new, count in frequent]

    def _merge_with_arrays(self, pair: Pair, new_id: int, i: np.ndarray) -> list[Pair]:
        """The same at all positions `i`, (n,), at once."""
        left, right = pair
        to_right, to_end = self._add_length(pair, new_id)
        token = self._tokens.numpy
        i = i[(token[i] == left) & (token[i + to_right] == right)]  # an earlier merge may have taken one of the two
        before, j, k = token[i - 1], i + to_right, i + to_end
        inside = np.flatnonzero(before < OUTSIDE)
        h = i - 1
        h[inside] = i[inside] - np.array(self._lengths)[END - before[inside]]
        first, last = token[h], token[k]
        token[j - 1] = token[j] = MERGED
        token[i], token[k - 1] = new_id, END - new_id

        # In abab the two new tokens are neighbours, and their pair is counted once: as the right pair of the first ab
        # (`next_is_new`). The second ab has no left pair to count: its h is the b of the first ab, now inside a token.
        has_left = (first >= 0) & (token[h] >= 0)
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
