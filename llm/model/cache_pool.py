"""Keys and values of many texts of different lengths, for an engine that writes them together.

    pool = CachePool(model.config, slots=8)
    model(prompt, cache=pool.rows([3]))              # (1, T): a text is read into slot 3
    model(next_ids, cache=pool.rows([0, 3, 5]))      # (3, 1): one more token in each of three slots

A `KVCache` has rows of the same length, which begin and end together. Here each text has a slot of its own, and a call
of the model names the slots that take part. The arrays have their full size from the beginning, (slots, K, room, D), so
that nothing is ever copied into a larger one. The system gives memory to the pages of an array only when they are
written, so room that no text has used yet costs nothing.

A layer with a sliding window never looks further back than its window. So it keeps only that much of each text, and
some room to append to: when the room is full, the end of the text moves to the beginning of it.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.model.kv_cache import KVCache
from llm.model.layer_kinds import layer_kind
from minigrad.backend import Array, array_module
from minigrad.tensor import array_of

CHUNK = 256  # the largest number of tokens that a call may append to a layer with a window


class CachePool:
    """The cache of up to `slots` texts, each of up to `capacity` tokens (default: the context of the model)."""

    def __init__(self, config: GPTConfig, slots: int, capacity: int | None = None, chunk: int = CHUNK):
        self.capacity = config.context if capacity is None else capacity
        self.lengths = [0] * slots  # tokens in each slot
        windows = [kept_window(config, layer) for layer in range(config.layers)]
        self.layers = [LayerCache(slots, self.capacity, window, chunk) for window in windows]

    def rows(self, slots: Sequence[int]) -> CacheRows:
        """What a call of the model gets as its `cache`: row b of the call is the text in slots[b]."""
        return CacheRows(self, slots)

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
    """Some slots of a pool, as the `cache` of one call of the model: a row for each slot.

    With one row, any number of tokens; with more, one new token in each.
    """

    def __init__(self, pool: CachePool, slots: Sequence[int]):
        self.pool, self.slots = pool, [int(slot) for slot in slots]
        self.before = [pool.lengths[slot] for slot in self.slots]  # tokens in each slot before this call

    @property
    def positions(self) -> slice | np.ndarray:
        """Of the tokens in the cache. One row: a slice. More rows: the number of tokens in each, (B,); positions.py."""
        return slice(0, self.before[0]) if len(self.before) == 1 else np.array(self.before)

    def append(self, layer: int, k: Any, v: Any) -> tuple[Array, Array] | tuple[list[Array], list[Array]]:
        """Write the keys and values (B, K, T, D) of new tokens, and return what the new tokens may attend to.

        That is (1, K, S, D) for one row, and for more rows a list of arrays (K, S, D), with an S for each row.
        """
        k, v = array_of(k), array_of(v)
        cache, T = self.pool.layers[layer], k.shape[2]
        cache.allocate(k)
        keys, values = [], []
        for slot, begin, new_keys, new_values in zip(self.slots, self.before, k, v, strict=True):  # new: (K, T, D)
            cache.write(slot, begin, new_keys, new_values)
            row_keys, row_values = cache.view(slot, begin + T, new=T)  # (K, S, D), (K, S, D)
            keys.append(row_keys)
            values.append(row_values)
        return (keys[0][None], values[0][None]) if len(keys) == 1 else (keys, values)

    def advance(self, positions: slice | np.ndarray) -> None:
        """Add the tokens just appended. `positions`: of the tokens of the longest row, old and new."""
        assert isinstance(positions, slice), "rows of a pool have no padding"
        new = positions.stop - max(self.before)  # tokens of this call; all rows have equally many
        for slot, before in zip(self.slots, self.before, strict=True):
            self.pool.lengths[slot] = before + new


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

    def write(self, slot: int, begin: int, k: Array, v: Array) -> None:
        """Write (K, T, D) at the positions from `begin` on."""
        T = k.shape[1]
        if begin - self.first[slot] + T > self.room:
            self._move_to_front(slot, begin, T)
        index = begin - self.first[slot]
        keys, values = self.arrays
        keys[slot, :, index : index + T] = k
        values[slot, :, index : index + T] = v

    def view(self, slot: int, end: int, new: int = 1) -> tuple[Array, Array]:
        """Keys and values (K, S, D) that the last `new` tokens before position `end` may attend to."""
        stop = end - self.first[slot]
        # The first of the new tokens looks at itself and at the window - 1 tokens before it.
        start = 0 if self.window is None else max(0, stop - (self.window - 1 + new))
        keys, values = self.arrays
        return keys[slot, :, start:stop], values[slot, :, start:stop]

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
        return array_module(like).empty(shape, like.dtype)
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
