"""Prompt tuning: learned vectors in the place of the embeddings of P tokens before each text (Lester et al. 2021,
arXiv 2104.08691).

They have ids of their own, V, V + 1 ..., which only the embedding knows, so that all of the model reads them as tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.adapters.attach import attach, become
from llm.model.adapters.lora import EmbeddingLayer
from llm.model.adapters.virtual import VirtualTokens, check_room, ones_before
from llm.model.cache_pool import Cache
from llm.model.gpt import GPT
from minigrad.backend import to_device
from minigrad.fused.embedding import embedding
from minigrad.nn import Parameter
from minigrad.ops import concatenate
from minigrad.tensor import Tensor, as_tensor


class Prompted(EmbeddingLayer):
    """An embedding that knows the ids of virtual tokens, which stand before all others: (B, T) -> (B, T, C)."""

    prompt: Parameter  # (P, C)
    first_virtual: int  # their first id
    scale: float  # `embedding_scale` of the model, by which the result is multiplied; the prompt is not

    def forward(self, ids: Any) -> Tensor:
        ids = to_device(as_tensor(ids).data, "cpu")
        # How many there are: rows are alike in this, and virtual tokens come first.
        count = int((ids[0] >= self.first_virtual).sum()) if ids.size else 0
        if not count:
            return super().forward(ids)
        vectors = embedding(ids[:, :count] - self.first_virtual, self.prompt)  # (B, P, C)
        vectors = vectors if self.scale == 1 else vectors * (1 / self.scale)
        return concatenate([vectors, super().forward(ids[:, count:])], axis=1)


class PromptOn(VirtualTokens):
    """A GPT with a prompt."""

    def _hidden_with_all(self, ids: Any, *, mask: Any = None, positions: Any = None, **others: Any) -> Tensor:
        ids, P = self._check_ids(ids), self.virtual_tokens
        if mask is not None:
            mask = ones_before(mask, P)
        if positions is not None:
            begin = np.broadcast_to(np.arange(P), (*positions.shape[:-1], P))
            positions = np.concatenate([begin, positions], axis=-1)
        # The balancing loss of experts counts tokens, and these are none; the routers are frozen anyway.
        others["routing"] = None
        all_ids = np.concatenate(
            [self._virtual_ids(len(ids), slice(0, P)), to_device(ids, "cpu")], axis=1
        )  # (B, P + T)
        return super(VirtualTokens, self).hidden(all_ids, mask=mask, positions=positions, **others)[:, P:]

    def _write(self, cache: Cache, rows: int, some: slice) -> None:
        super(VirtualTokens, self).hidden(self._virtual_ids(rows, some), cache=cache)

    def _virtual_ids(self, rows: int, some: slice) -> np.ndarray:
        numbers = self.config.vocab_size + np.arange(some.start, some.stop)
        return np.broadcast_to(numbers, (rows, len(numbers)))


def add_prompt(model: GPT, settings: Any, weight: np.ndarray) -> None:
    """Attach a prompt of these vectors, (P, C)."""
    check_room(model, len(weight))
    attach(model, PromptOn, settings)
    prompt, config = Parameter(weight, model.dtype), model.config
    become(model.embedding, Prompted, prompt=prompt, first_virtual=config.vocab_size, scale=config.embedding_scale)
    model.virtual_tokens = len(weight)
    model.context -= len(weight)
    model.to(model.device)  # the prompt too
