"""All words of a corpus in one array, and the pairs of neighbours in it.

In texts without spaces, such as base64, hardly any word occurs twice, so the distinct words are nearly as long as the
texts. To save memory, the pairs are sorted in blocks. That takes about 9 bytes for each byte of the distinct words;
sorting all pairs together would take four times as much.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from tokenizer.arrays.ragged import ranges
from tokenizer.arrays.tally import Tally, first_of_runs

OUTSIDE = -1  # stands before and after a word
MERGED = -2  # stands inside a token that is longer than one position
END = -3  # END - id stands at the last position of such a token. All numbers below OUTSIDE are inside a token
WORDS_PER_BLOCK = 1 << 16  # words that are put into the row together
MAX_BLOCK_BITS = 18  # pairs are sorted in blocks of 2 ** 18 positions, which fit into the cache of a processor
TYPECODES = "bhiq"  # of `array`: integers of 1, 2, 4 and 8 bytes


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
        return Groups.of_sorted(keys[order], positions[order], weights[order])

    @staticmethod
    def of_sorted(keys: np.ndarray, positions: np.ndarray, weights: np.ndarray) -> Groups:
        first = first_of_runs(keys)
        counts = np.add.reduceat(weights, first, dtype=np.int64)  # a sum may not fit the type of the weights
        return Groups(keys[first], counts, np.append(first, len(keys)), positions)

    def at_least(self, count: int) -> Iterable[tuple[int, int, np.ndarray]]:
        """Key, count and positions of the groups with at least this count."""
        chosen = np.flatnonzero(self.counts >= count)
        columns = self.keys[chosen], self.counts[chosen], self.edges[chosen], self.edges[chosen + 1]
        for key, count, start, end in zip(*(column.tolist() for column in columns)):
            yield key, count, self.positions[start:end]


class PairCounts(NamedTuple):
    """Pairs as keys `left << 32 | right`, in order; the sums of their weights; their number of positions. (k,) each."""

    keys: np.ndarray
    counts: np.ndarray
    sizes: np.ndarray

    def at_least(self, count: int) -> PairCounts:
        chosen = self.counts >= count
        return PairCounts(*(column[chosen] for column in self))


class TwoViews(NamedTuple):
    """Two views of the same memory: an `array`, which is faster for single elements, and an array of NumPy."""

    single: array
    numpy: np.ndarray

    @classmethod
    def of_zeros(cls, typecode: str, size: int) -> TwoViews:
        single = array(typecode, [0]) * size
        return cls(single, np.frombuffer(single, np.dtype(typecode)))

    @classmethod
    def of(cls, values: np.ndarray) -> TwoViews:
        """A copy of `values`, signed integers."""
        # NumPy has two letters for integers of the same size, such as "l" and "q"; `array` gets the one in TYPECODES.
        views = cls.of_zeros(values.dtype.char if values.dtype.char in TYPECODES else "q", len(values))
        views.numpy[:] = values
        return views


class WordRow:
    """All words, one after another.

    `tokens`, (n,) int32, are the ids of the tokens, with OUTSIDE before, between and after words. `weights`, (n,), says
    for each position how often its word occurs. Its type is the shortest integer that can hold the highest count.
    """

    def __init__(self, words: Mapping[bytes, int], byte_ids: Sequence[int]):
        """`byte_ids[b]` is the id of the byte b."""
        highest = max(words.values(), default=0)
        typecode = next(code for code in TYPECODES if highest <= np.iinfo(code).max)
        size = 1 + len(words) + sum(map(len, words))
        self.tokens, self.weights = TwoViews.of_zeros("i", size), TwoViews.of_zeros(typecode, size)
        self.tokens.numpy[:1] = OUTSIDE
        ids = np.array([*byte_ids, OUTSIDE], np.int32)
        start, items = 1, iter(words.items())
        while block := list(islice(items, WORDS_PER_BLOCK)):
            lengths = np.fromiter((len(word) + 1 for word, _ in block), np.int64, len(block))
            # A zero after each word; then a number instead that is no byte, because words may contain zeros.
            data = np.frombuffer(b"\0".join([word for word, _ in block]) + b"\0", np.uint8).astype(np.int16)
            data[np.cumsum(lengths) - 1] = len(byte_ids)  # the index of OUTSIDE in `ids`
            end = start + len(data)
            self.tokens.numpy[start:end] = ids[data]
            self.weights.numpy[start:end] = np.repeat(np.fromiter((count for _, count in block), np.int64), lengths)
            start = end

    def count_pairs(self) -> PairCounts:
        """All pairs of neighbours."""
        tally = Tally(columns=2)
        for block in self._blocks():
            tally.add(block.keys, block.counts, np.diff(block.edges))
        return PairCounts(*tally.total())

    def find(self, pairs: PairCounts) -> Groups:
        """The positions of these pairs, which are those of their left tokens."""
        edges = np.append(0, np.cumsum(pairs.sizes))
        positions, free = np.empty(edges[-1], np.int32), edges[:-1].copy()
        for block in self._blocks():
            group = np.searchsorted(pairs.keys, block.keys)
            found = np.flatnonzero(np.append(pairs.keys, -1)[group] == block.keys)
            group, starts, sizes = group[found], block.edges[found], np.diff(block.edges)[found]
            positions[ranges(free[group], sizes)] = block.positions[ranges(starts, sizes)]
            free[group] += sizes
        return Groups(pairs.keys, pairs.counts, edges, positions)

    def _blocks(self) -> Iterator[Groups]:
        """The pairs of each part of the row. A pair and its position are sorted as one number, which is faster."""
        tokens, weights = self.tokens.numpy, self.weights.numpy
        id_bits = int(tokens.max()).bit_length() if len(tokens) else 0
        bits = min(MAX_BLOCK_BITS, 63 - 2 * id_bits)
        for start in range(0, len(tokens) - 1, 1 << bits):
            left, right = tokens[start : start + (1 << bits)], tokens[start + 1 : start + 1 + (1 << bits)]
            index = np.flatnonzero((left[: len(right)] >= 0) & (right >= 0))
            pairs = left[index].astype(np.int64) << id_bits | right[index]
            ordered = np.sort(pairs << bits | index)
            pairs, positions = ordered >> bits, start + (ordered & ((1 << bits) - 1))
            keys = (pairs >> id_bits) << 32 | pairs & ((1 << id_bits) - 1)
            yield Groups.of_sorted(keys, positions, weights[positions])

    def remove_merged(self) -> None:
        """Remove the positions inside tokens, and the words that are now a single token."""
        self._select(self.tokens.numpy >= OUTSIDE)
        # A token between two OUTSIDE is a whole word. No merge can change it any more.
        outside = self.tokens.numpy == OUTSIDE
        is_single = ~outside
        is_single[1:-1] &= outside[:-2] & outside[2:]
        self._select(~is_single)
        # Of several OUTSIDE in a row, the first one stays.
        outside = self.tokens.numpy == OUTSIDE
        self._select(~(outside & np.append(False, outside[:-1])))

    def _select(self, is_kept: np.ndarray) -> None:
        self.tokens = TwoViews.of(self.tokens.numpy[is_kept])
        self.weights = TwoViews.of(self.weights.numpy[is_kept])
