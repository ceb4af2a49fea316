"""The keys and values of the tokens a model has seen, so that the next token costs one token's work.

    cache = KVCache(model.config)
    with no_grad():
        logits = model(prompt, cache=cache)         # any split of a text into calls gives the same logits
        logits = model(next_ids, cache=cache)

Each layer has one array for keys and one for values, with room to spare: a token is written into its place, and room
doubles when it runs out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from minigrad.backend import array_module

FIRST_ROOM = 64  # tokens


class KVCache:
    """Keys and values of `length` tokens in each of B rows; empty at first.

    Batch, dtype and device are those of the first tokens. `places`: the positions of the tokens, a slice, or an array
    (B, length) once a call of the model had a `mask`, because rows differ in length, or `positions`.
    """

    def __init__(self, config: GPTConfig):
        self.context = config.context
        self.length = 0
        self.places: slice | np.ndarray = slice(0, 0)
        self._keys: list[Any] = [None] * config.layers  # each (B, K, room, D)
        self._values: list[Any] = [None] * config.layers

    @property
    def nbytes(self) -> int:
        """Memory taken, in bytes."""
        return sum(a.nbytes for a in (*self._keys, *self._values) if a is not None)

    def append(self, layer: int, k: Any, v: Any) -> tuple[Any, Any]:
        """Keep the new keys and values (B, K, T, D) of a layer, arrays; all there are then, as views (B, K, length + T,
        D).

        They count only after `advance`: a call of the model that is broken off leaves the cache as it was.
        """
        self._keys[layer] = self._write(self._keys[layer], k)
        self._values[layer] = self._write(self._values[layer], v)
        end = self.length + k.shape[2]
        return self._keys[layer][:, :, :end], self._values[layer][:, :, :end]

    def advance(self, places: slice | np.ndarray) -> None:
        """What was just appended to every layer counts from now on; `places`: those of all tokens."""
        self.places = places
        self.length = places.stop if isinstance(places, slice) else places.shape[1]

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens of every row."""
        if not 0 <= length <= self.length:
            raise ValueError(f"the cache holds {self.length} tokens and cannot be truncated to {length}")
        self.length = length
        self.places = slice(0, length) if isinstance(self.places, slice) else self.places[:, :length]

    def reset(self) -> None:
        """Forget everything and free the memory: the next call begins anew, with any batch size. (`truncate(0)` keeps
        the memory.)
        """
        self.truncate(0)
        self._keys = [None] * len(self._keys)
        self._values = [None] * len(self._values)

    def _write(self, kept: Any, new: Any) -> Any:
        """`kept` (or a larger array in its stead) with `new` behind the first `length` tokens."""
        end = self.length + new.shape[2]
        if kept is not None and len(kept) != len(new):
            raise ValueError(
                f"the cache holds {len(kept)} rows and this call has {len(new)}; reset() the cache to begin another "
                "batch"
            )
        if kept is None or end > kept.shape[2]:
            kept = self._with_room(kept, new, end)
        kept[:, :, self.length : end] = new
        return kept

    def _with_room(self, kept: Any, new: Any, end: int) -> Any:
        room = max(FIRST_ROOM, 1 << (end - 1).bit_length())
        if end <= self.context:
            room = min(room, self.context)
        B, K, _, D = new.shape
        larger = array_module(new).empty((B, K, room, D), new.dtype)
        if kept is not None:
            larger[:, :, : self.length] = kept[:, :, : self.length]
        return larger
