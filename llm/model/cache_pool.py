"""Keys and values of many texts of different lengths, for an engine that writes them together.

    pool = CachePool(model.config, slots=8)
    model(prompt, cache=pool.rows([3]))              # (1, T): a text is read into slot 3
    model(next_ids, cache=pool.rows([0, 3, 5]))      # (3, 1): one more token in each of three slots
    model(new_ids, cache=pool.rows([0, 3], [1, 6]))  # (7, 1): one more token in slot 0, and six more in slot 3

A `KVCache` has rows of the same length, which begin and end together. Here each text has a slot of its own, and a call
of the model names the slots that take part, and how many new tokens each has. The arrays have their full size from the
beginning, (slots, K, room, D), so that nothing is ever copied into a larger one. The system gives memory to the pages
of an array only when they are written, so room that no text has used yet costs nothing.

A layer with a sliding window never looks further back than its window. So it keeps only that much of each text, and
some room to append to: when the room is full, the end of the text moves to the beginning of it.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from llm.model.config import GPTConfig
from llm.model.kv_cache import KVCache
from llm.model.layer_kinds import layer_kind
from minigrad.backend import Array, array_module
from minigrad.fused.ragged_attention import Ragged
from minigrad.tensor import array_of

CHUNK = 256  # the largest number of tokens that a call may append to a layer with a window


class CachePool:
    """The cache of up to `slots` texts, each of up to `capacity` tokens (default: the context of the model)."""

    def __init__(self, config: GPTConfig, slots: int, capacity: int | None = None, chunk: int = CHUNK):
        self.capacity = config.context if capacity is None else capacity
        self.lengths, self.chunk = [0] * slots, chunk  # tokens in each slot; the most that a call may append to one
        windows = [kept_window(config, layer) for layer in range(config.layers)]
        self.layers = [LayerCache(slots, self.capacity, window, chunk) for window in windows]

    def rows(self, slots: Sequence[int], counts: Sequence[int] | None = None) -> CacheRows:
        """What a call of the model gets as its `cache`, if it reads new tokens of the texts in these slots.

        One slot: the call has one row, (1, T). More slots: each new token is a row of the call, (N, 1), those of the
        first text first. `counts`: how many new tokens each text has; default: one.
        """
        return CacheRows(self, slots, [1] * len(slots) if counts is None else counts)

    def truncate(self, slot: int, length: int) -> None:
        """Forget all but the first `length` tokens of a text. See `can_truncate`."""
        if not self.can_truncate(slot, length):
            raise ValueError(f"slot {slot} does not hold what its layers need of the first {length} tokens")
        self.lengths[slot] = length
        for layer in self.layers:
            layer.truncate(slot, length)

    def can_truncate(self, slot: int, length: int) -> bool:
        """Whether all layers still have what a token after the first `length` tokens of the text looks at."""
        return 0 <= length <= self.lengths[slot] and all(layer.can_truncate(slot, length) for layer in self.layers)

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target` begin with the first `length` tokens of `source`, instead of what it holds."""
        if not self.can_truncate(source, length):
            raise ValueError(f"slot {source} does not hold what its layers need of the first {length} tokens")
        self.lengths[target] = length
        for layer in self.layers:
            layer.copy(source, target, length)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, also of pages that are not written yet."""
        return sum(layer.nbytes for layer in self.layers)


class CacheRows:
    """Some slots of a pool, as the `cache` of one call of the model. See `CachePool.rows`."""

    def __init__(self, pool: CachePool, slots: Sequence[int], counts: Sequence[int]):
        self.pool, self.slots, self.counts = pool, slots, counts
        self.before = [pool.lengths[slot] for slot in slots]  # tokens in each slot before this call
        # Window, starts and places of the layer before. They are mostly those of the next one, too.
        self._last: tuple[int | None, list[int], list[Place]] = (None, [], [])

    @property
    def positions(self) -> slice | np.ndarray:
        """One slot: of the tokens in the cache, a slice. More slots: of all new tokens, (N,); positions.py."""
        return slice(0, self.before[0]) if len(self.slots) == 1 else ranges(self.before, self.counts)

    def append(self, layer: int, k: Any, v: Any) -> tuple[Array, Array] | tuple[Ragged, Ragged]:
        """Write the keys and values (B, K, T, D) of new tokens, and return what these may attend to.

        That is (1, K, S, D) for one slot.
        """
        k, v = array_of(k), array_of(v)
        cache, is_one = self.pool.layers[layer], len(self.slots) == 1
        cache.allocate(k)
        if is_one:
            k, v = k.swapaxes(0, 2), v.swapaxes(0, 2)  # (T, K, 1, D), like the new tokens of several texts
        places = self._places(cache, [len(k)] if is_one else self.counts)
        for array, new in zip(cache.arrays, (k, v), strict=True):
            for each in places:
                array[each.slots, :, each.new] = each.of(new)
        keys, values = ([array[each.slots, :, each.seen] for each in places] for array in cache.arrays)
        if is_one:
            return keys[0], values[0]
        rows, queries = [each.rows for each in places], [each.queries for each in places]
        return Ragged(keys, rows, queries), Ragged(values, rows, queries)

    def advance(self, positions: slice | np.ndarray) -> None:
        """Add the tokens just appended. `positions`: of the tokens of the longest row, old and new."""
        assert isinstance(positions, slice), "rows of a pool have no padding"
        if len(self.slots) == 1:
            self.counts = [positions.stop - self.before[0]]
        for slot, before, new in zip(self.slots, self.before, self.counts, strict=True):
            self.pool.lengths[slot] = before + new

    def _places(self, cache: LayerCache, counts: Sequence[int]) -> list[Place]:
        """Where the new tokens of this call are in a layer."""
        texts = list(zip(self.slots, self.before, counts, strict=True))
        starts = [cache.make_room(slot, before, count) for slot, before, count in texts]
        if (cache.window, starts) != self._last[:2]:  # otherwise they are those of the layer before
            self._last = cache.window, starts, find_places(cache, self.slots, starts, counts)
        return self._last[2]


class Place(NamedTuple):
    """Where the new tokens of a text are, or those of several texts of the same length in neighbouring slots."""

    rows: slice  # of the call
    slots: slice
    new: slice  # in each slot, the indices of the new tokens
    seen: slice  # of the tokens that the new ones may attend to
    queries: int  # how many new tokens each text has, T; several texts have one each

    def of(self, new: Array) -> Array:
        """These rows of the new keys or values (N, K, 1, D), as (R, K, T, D)."""
        rows = new[self.rows]
        return rows if self.queries == 1 else rows.swapaxes(0, 2)


def find_places(cache: LayerCache, slots: Sequence[int], starts: list[int], counts: Sequence[int]) -> list[Place]:
    """`starts`: the indices that `make_room` has given."""
    places: list[Place] = []
    row = 0
    for slot, start, count in zip(slots, starts, counts, strict=True):
        new, seen = slice(start, start + count), cache.seen(start + count, count)
        place = Place(slice(row, row + count), slice(slot, slot + 1), new, seen, count)
        last = places[-1] if places else None
        # Attention multiplies texts that are one array together.
        if last and count == 1 and last[2:] == place[2:] and last.slots.stop == slot:
            rows, joined = slice(last.rows.start, row + 1), slice(last.slots.start, slot + 1)
            places[-1] = place._replace(rows=rows, slots=joined)
        else:
            places.append(place)
        row += count
    return places


def ranges(starts: Iterable[int], counts: Iterable[int]) -> np.ndarray:
    """Consecutive integers from each start, as many as the count says, (sum of the counts,)."""
    return np.concatenate([np.arange(start, start + count) for start, count in zip(starts, counts, strict=True)])


Cache = KVCache | CacheRows  # what a call of the model takes as `cache`


class LayerCache:
    """Keys and values of one layer: (slots, K, room, D).

    With a window, the first tokens of a text may be missing: position p of the text is at index p - first[slot].
    """

    def __init__(self, slots: int, capacity: int, window: int | None, chunk: int):
        self.slots, self.window = slots, window
        # With a window: what a new token looks at, and as much again, so that texts move seldom.
        self.room = capacity if window is None else min(capacity, window + max(window, chunk))
        self.first = [0] * slots  # the position of the oldest token that is kept
        self.arrays: list[Array] = []  # keys and values, made at the first use

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    def allocate(self, like: Array) -> None:
        """Make the arrays, once, in the dtype and on the device of `like` (B, K, T, D)."""
        if not self.arrays:
            _, K, _, D = like.shape
            self.arrays = [untouched_array((self.slots, K, self.room, D), like) for _ in range(2)]

    def make_room(self, slot: int, begin: int, new: int) -> int:
        """The index at which to write `new` tokens that follow the first `begin` ones of a text."""
        if begin - self.first[slot] + new > self.room:
            self._move_to_front(slot, begin, new)
        return begin - self.first[slot]

    def seen(self, stop: int, new: int) -> slice:
        """The indices of what the last `new` tokens before index `stop` may attend to."""
        # The first of the new tokens looks at itself and at the window - 1 tokens before it.
        return slice(0 if self.window is None else max(0, stop - (self.window - 1 + new)), stop)

    def can_truncate(self, slot: int, length: int) -> bool:
        """Whether the slot has what a token at position `length` looks at."""
        first = self.first[slot]
        return length == 0 or first == 0 or (self.window is not None and length - (self.window - 1) >= first)

    def truncate(self, slot: int, length: int) -> None:
        if length == 0:  # otherwise the later tokens stay in the array, and are written over
            self.first[slot] = 0

    def copy(self, source: int, target: int, length: int) -> None:
        self.first[target] = self.first[source] if length else 0
        kept = length - self.first[target]
        for array in self.arrays:
            array[target, :, :kept] = array[source, :, :kept]

    def _move_to_front(self, slot: int, begin: int, new: int) -> None:
        """Forget all but the window before position `begin`, so that there is room for `new` tokens after it."""
        if self.window is None or self.window - 1 + new > self.room:
            raise ValueError(f"a slot of the cache has room for {self.room} tokens, and {begin + new} do not fit")
        first = self.first[slot]
        start, stop = begin - (self.window - 1) - first, begin - first
        for array in self.arrays:
            array[slot, :, : stop - start] = array[slot, :, start:stop].copy()  # the two may overlap
        self.first[slot] = first + start


def untouched_array(shape: tuple[int, ...], like: Array) -> Array:
    """An array whose memory is taken page by page, when it is written; in the dtype and on the device of `like`."""
    size = math.prod(shape) * like.dtype.itemsize
    if array_module(like) is not np or not size:
        # Zeros: a captured step multiplies what no text has written yet by 0, which must not be NaN.
        return array_module(like).zeros(shape, like.dtype)
    # np.empty asks Linux for pages of 2 MB. One token would take such a page in each head: of SmolLM2 with 8 slots,
    # 3 GB after some short texts. With pages of 4 kB it is 0.2 GB, and reading them takes hardly longer.
    memory = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, like.dtype).reshape(shape)


def kept_window(config: GPTConfig, layer: int) -> int | None:
    """How far back a layer looks; None: its cache must keep the whole text."""
    # ALiBi's bias has a number for each token of the text, so there it is simpler to keep them all.
    return None if config.positions == "alibi" else layer_kind(config, layer).window
