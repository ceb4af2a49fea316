"""Prefix tuning: each layer has learned keys and values that stand before all tokens (Li and Liang 2021, 2101.00190).

They are as if P tokens had been read before each text: the cache of a model begins with them, and the first token of a
text has the position P. The keys are learned as they are in the cache, after the rotation, so they have no position.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.adapters.attach import attach
from llm.model.adapters.virtual import VirtualTokens, check_room
from llm.model.cache_pool import Cache
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from minigrad.nn import Module, Parameter
from minigrad.ops import broadcast_to, concatenate
from minigrad.tensor import Tensor


class Prefix(Module):
    """Keys and values of P virtual tokens in all layers: `weight` (P, layers * 2 * K * D), as in PEFT's files."""

    def __init__(self, config: GPTConfig, weight: np.ndarray, dtype: Any):
        self.shape = (len(weight), config.layers, 2, config.key_heads, config.head_size)  # (P, L, 2, K, D)
        self.weight = Parameter(weight, dtype)

    def keys_values(self, layer: int, rows: int) -> tuple[Tensor, Tensor]:
        """Of one layer, for a batch: (B, K, P, D) both."""
        both = self.weight.reshape(self.shape)[:, layer].transpose((1, 2, 0, 3))  # (2, K, P, D)
        shape = (rows, *both.shape[1:])
        return broadcast_to(both[0], shape), broadcast_to(both[1], shape)


class PrefixAsCache:
    """Takes the place of the cache in a call without one. What `append` returns is in the graph; nothing is kept."""

    def __init__(self, prefix: Prefix):
        self.prefix, self.positions = prefix, slice(0, prefix.shape[0])

    def append(self, layer: int, k: Any, v: Any) -> tuple[Any, Any]:
        """The keys and values (B, K, P + T, D) of the prefix and of the text; arrays if the given ones are arrays."""
        before = self.prefix.keys_values(layer, k.shape[0])
        keys, values = (concatenate(pair, axis=2) for pair in zip(before, (k, v)))
        return (keys, values) if isinstance(k, Tensor) else (keys.data, values.data)

    def advance(self, positions: Any) -> None:
        pass


class PrefixOn(VirtualTokens):
    """A GPT with a prefix."""

    prefix: Prefix

    def _hidden_with_all(self, ids: Any, **others: Any) -> Tensor:
        cache: Any = PrefixAsCache(self.prefix)
        return super(VirtualTokens, self).hidden(ids, cache=cache, **others)

    def _write(self, cache: Cache, rows: int, some: slice) -> None:
        for layer in range(self.prefix.shape[1]):
            k, v = self.prefix.keys_values(layer, rows)
            cache.append(layer, k.data[:, :, some], v.data[:, :, some])
        cache.advance(slice(0, some.stop))


def add_prefix(model: GPT, settings: Any, weight: np.ndarray) -> None:
    """Attach a prefix with these keys and values, (P, layers * 2 * K * D)."""
    prefix = Prefix(model.config, weight, model.dtype)
    check_room(model, len(weight))
    attach(model, PrefixOn, settings)
    model.prefix, model.virtual_tokens = prefix, len(weight)
    model.context -= len(weight)
    model.to(model.device)  # the prefix too
