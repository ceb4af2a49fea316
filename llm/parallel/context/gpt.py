"""A GPT that reads some tokens of each text. The ranks have the same weights, and other tokens of the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.attention import Attention
from llm.model.block import Block
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.masks import LayerSettings
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.context.ring import Ring, ring_attention
from llm.parallel.shards import split_evenly
from minigrad.backend import Array
from minigrad.random import Part, placed
from minigrad.tensor import Tensor, as_tensor


class ContextGPT(GPT):
    """As `GPT`, of which each rank computes its tokens in training. In evaluation, it is a `GPT` like any other.

    All ranks are given whole texts. In training, `hidden` and `forward` return the vectors and logits of the tokens of
    this rank, and `loss` its part of the loss. The losses and the gradients of all ranks have to be added up, as those
    of ranks that have other rows. Raises ValueError for models in which a token needs more of the others than keys and
    values.
    """

    def __init__(
        self, config: GPTConfig, ranks: Communicator, rng: np.random.Generator | int | None = 0, dtype: Any = np.float32
    ):
        check_context(config)
        self.ranks, self.ring = ranks, Ring(ranks, [])
        super().__init__(config, rng, dtype)

    def _make_block(self, layer: int, dtype: Any) -> Block:
        block = super()._make_block(layer, dtype)
        block.attention = RingAttention(self.config, layer, dtype, self)
        return block

    def loss(
        self, ids: Any, targets: Any, *, reduction: Any = "mean", ignore_index: int = -100, **others: Any
    ) -> Tensor:
        """The part of this rank of the mean or the sum; or, for "none", the losses of its tokens."""
        if not self.training:
            return super().loss(ids, targets, reduction=reduction, ignore_index=ignore_index, **others)
        targets = as_tensor(targets).data
        own = self._own_tokens(targets.shape[1])
        loss = super().loss(
            ids,
            targets[:, own],
            reduction="none" if reduction == "none" else "sum",
            ignore_index=ignore_index,
            **others,
        )
        return loss / max(1, int((targets != ignore_index).sum())) if reduction == "mean" else loss

    def hidden(self, ids: Any, *, cache: Any = None, routing: Any = None, **others: Any) -> Tensor:
        """The vectors (B, T_r, C) of the tokens of this rank, of ids (B, T)."""
        if not self.training:
            return super().hidden(ids, cache=cache, routing=routing, **others)
        if cache is not None or any(value is not None for value in others.values()):
            raise ValueError(
                "tokens are divided over ranks in plain texts only: no cache, mask, positions or documents"
            )
        ids = self._check_ids(ids)  # (B, T)
        T = ids.shape[1]
        if self.ranks.size > T:
            raise ValueError(f"a text of {T} tokens cannot be divided over {self.ranks.size} ranks")
        self.ring = Ring(self.ranks, [split_evenly(T, rank, self.ranks.size) for rank in range(self.ranks.size)])
        own = self._own_tokens(T)
        before: Any = TokensBefore(own.start)
        with placed(Part(1, own.start, own.stop, T)):
            return super().hidden(ids[:, own], cache=before, routing=routing)

    def _own_tokens(self, T: int) -> slice:
        tokens = split_evenly(T, self.ranks.rank, self.ranks.size)
        return slice(tokens.start, tokens.stop)

    def _can_decode(self, x: Array, settings: list[LayerSettings]) -> bool:
        # In training, a rank with one token needs the keys of the others.
        return not self.training and super()._can_decode(x, settings)


class RingAttention(Attention):
    def __init__(self, config: GPTConfig, layer: int, dtype: Any, model: ContextGPT):
        super().__init__(config, layer, dtype)
        self._ring = lambda: model.ring  # not `model`: it would be a module of this module

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, settings: LayerSettings) -> Tensor:
        if not self.training:
            return super()._attend(q, k, v, settings)
        H, dropout = self.config.heads, self.config.dropout if self.training else 0.0
        with placed(Part(1, 0, H, H)):  # axis 1 of the weights is not that of the tokens: it has all heads
            return ring_attention(
                q, k, v, self._ring(), scale=self.scale, soft_cap=self.config.attention_soft_cap,
                window=settings.window, bias=settings.bias, dropout=dropout,
            )  # fmt: skip


class TokensBefore:
    """Takes the place of the cache: there are tokens before these, but the ring brings their keys and values."""

    def __init__(self, count: int):
        self.positions = slice(0, count)

    def append(self, layer: int, k: Any, v: Any) -> tuple[Any, Any]:
        return k, v

    def advance(self, positions: Any) -> None:
        pass


def check_context(config: GPTConfig) -> None:
    """Raise ValueError if a token needs more of the others than their keys and values."""
    scaling = config.rope_scaling
    if scaling is not None and scaling.effective_length(1) != scaling.effective_length(1 << 30):
        raise ValueError(
            f"{scaling.kind} angles depend on the length of the text, so tokens cannot be divided over ranks"
        )
    if config.experts is not None and config.balance_loss:
        raise ValueError("the balancing loss is that of all tokens, so they cannot be divided over ranks; use 0")
