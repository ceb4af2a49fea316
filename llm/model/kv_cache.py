"""The key-value cache: keys and values of the tokens read so far, so that a new token costs the work of one token.

    cache = KVCache(model.config)
    with no_grad():
        logits = model(prompt, cache=cache)         # a text may be split into calls in any way: the logits are the same
        logits = model(next_ids, cache=cache)

Each layer has one array for keys and one for values, longer than the text. New tokens are written after the others.
When an array is full, it is copied into one twice as long. That happens so rarely that, over a whole text, each token
is copied about once.

A call of the model first appends its tokens to all layers. At its end it calls `advance`, and only then does `length`
include them. So a call that ends with an error in the middle leaves the cache as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from llm.model.config import GPTConfig
from minigrad.backend import Array, array_module

INITIAL_CAPACITY = 64  # tokens

# Appends keys and values (B, K, T, D) to one layer of a cache, and returns all of that layer's, (B, K, S, D). For texts
# of different lengths (cache_pool.py) it returns two `Ragged`.
UpdateCache = Callable[[Array, Array], tuple[Array, Array]]


class KVCache:
    """Keys and values of `length` tokens in each of B rows; empty at first.

    Batch size, dtype and device are those of the first tokens. `positions` are those of all tokens in the cache: a
    slice, or an array (B, length) after a call of the model with `mask` or `positions` (see positions.py).
    """

    def __init__(self, config: GPTConfig):
        self.context = config.context
        self.length = 0
        self.positions: slice | np.ndarray = slice(0, 0)
        self._keys: list[Array | None] = [None] * config.layers  # each (B, K, capacity, D)
        self._values: list[Array | None] = [None] * config.layers

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return sum(a.nbytes for a in (*self._keys, *self._values) if a is not None)

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Write the keys and values (B, K, T, D) of new tokens into a layer.

        Returns the keys and values of all tokens, old and new: views (B, K, length + T, D).
        """
        self._keys[layer] = keys = self._write(self._keys[layer], k)
        self._values[layer] = values = self._write(self._values[layer], v)
        end = self.length + k.shape[2]
        return keys[:, :, :end], values[:, :, :end]

    def advance(self, positions: slice | np.ndarray) -> None:
        """Add the tokens just appended to the length; `positions` are those of all tokens, old and new."""
        self.positions = positions
        self.length = positions.stop if isinstance(positions, slice) else positions.shape[1]

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens of every row, and keep the memory."""
        if not 0 <= length <= self.length:
            raise ValueError(f"the cache holds {self.length} tokens and cannot be truncated to {length}")
        self.length = length
        self.positions = slice(0, length) if isinstance(self.positions, slice) else self.positions[:, :length]

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows instead, in this order. A row may be named several times: then it is copied."""
        self._keys = [None if keys is None else take_rows(keys, rows) for keys in self._keys]
        self._values = [None if values is None else take_rows(values, rows) for values in self._values]
        if not isinstance(self.positions, slice):
            self.positions = take_rows(self.positions, rows)

    def reset(self) -> None:
        """Forget everything and free the memory. The next call may have another batch size."""
        self.truncate(0)
        self._keys = [None] * len(self._keys)
        self._values = [None] * len(self._values)

    def _write(self, stored: Array | None, new: Array) -> Array:
        """Write `new` after the first `length` tokens of `stored`; returns `stored`, or a larger array instead."""
        end = self.length + new.shape[2]
        if stored is not None and len(stored) != len(new):
            raise ValueError(
                f"the cache holds {len(stored)} rows and this call has {len(new)}; "
                f"call reset() on the cache to begin another batch"
            )
        if stored is None or end > stored.shape[2]:
            stored = self._grow(stored, new, end)
        stored[:, :, self.length : end] = new
        return stored

    def _grow(self, stored: Array | None, new: Array, length: int) -> Array:
        """An array with room for at least `length` tokens, which begins with those of `stored`."""
        capacity = max(INITIAL_CAPACITY, 1 << (length - 1).bit_length())  # the next power of two
        if length <= self.context:
            capacity = min(capacity, self.context)  # most texts end there, so more memory is seldom needed
        B, K, _, D = new.shape
        larger = array_module(new).empty((B, K, capacity, D), new.dtype)
        if stored is not None:
            larger[:, :, : self.length] = stored[:, :, : self.length]
        return larger


def take_rows(a: Array, rows: Sequence[int]) -> Array:
    """A new array with these rows of `a`."""
    return a[array_module(a).asarray(rows)]
