"""Virtual tokens: what prefix tuning and prompt tuning have in common. They stand before every text, and are learned.

A text with P virtual tokens has the positions P, P + 1 ...: the model reads it as if it continued these. With a cache,
they are written into it before the first token. So they take P tokens of the context away (`model.context`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.adapters.attach import AdaptedGPT
from llm.model.cache_pool import Cache, CacheRows
from minigrad.tensor import Tensor, as_tensor


class VirtualTokens(AdaptedGPT):
    """A GPT with `virtual_tokens` learned tokens before each text."""

    virtual_tokens: int

    def hidden(self, ids: Any, *, cache: Cache | None = None, documents: Any = None, **others: Any) -> Tensor:
        if not self.switch.on:
            return super().hidden(ids, cache=cache, documents=documents, **others)
        if documents is not None:
            raise ValueError(
                "with a prefix or a prompt, texts cannot be packed as documents of one row; give each its own row"
            )
        if others.get("positions") is not None:  # those of the text, without what stands before it
            others["positions"] = as_tensor(others["positions"]).data + self.virtual_tokens
        if cache is None:
            return self._hidden_with_all(ids, **others)
        self._begin_empty_texts(cache, rows=len(as_tensor(ids).data))
        return super().hidden(ids, cache=cache, **others)

    def _hidden_with_all(self, ids: Any, **others: Any) -> Tensor:
        """`hidden` without a cache."""
        raise NotImplementedError

    def _write(self, cache: Cache, rows: int, some: slice) -> None:
        """Add some of the virtual tokens to a cache."""
        raise NotImplementedError

    def _begin_empty_texts(self, cache: Cache, rows: int) -> None:
        """Let each text of which the cache holds nothing yet begin with the virtual tokens."""
        P = self.virtual_tokens
        if isinstance(cache, CacheRows):
            pool = cache.pool
            for slot in cache.slots:
                for start in range(0, P, pool.chunk) if pool.lengths[slot] == 0 else ():
                    self._write(pool.rows([slot]), 1, slice(start, min(start + pool.chunk, P)))
            cache.before = [pool.lengths[slot] for slot in cache.slots]
        elif cache.length == 0:
            self._write(cache, rows, slice(0, P))


def check_room(model: Any, tokens: int) -> None:
    """Raise ValueError if so many virtual tokens leave no room for a text."""
    if not 0 < tokens < model.config.context:
        raise ValueError(f"a model with a context of {model.config.context} cannot have {tokens} virtual tokens")


def ones_before(mask: Any, count: int) -> np.ndarray:
    """A mask (B, T) or (T,) with `count` real tokens before it."""
    mask = as_tensor(mask).data
    return np.concatenate([np.ones((*mask.shape[:-1], count), bool), mask], axis=-1)
