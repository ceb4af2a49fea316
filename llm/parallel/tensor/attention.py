"""Attention with some of the heads. Each rank multiplies its heads with its columns of the output layer.

With K < ranks key-value heads, several ranks hold a copy of the same one, and each finds the part of its gradient that
comes from its own query heads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llm.model.attention import Attention
from llm.model.config import GPTConfig
from llm.model.kv_cache import UpdateCache
from llm.model.masks import AlibiBias, LayerSettings
from llm.parallel.communicators.alone import Alone
from llm.parallel.shards import split_heads
from llm.parallel.tensor.group import TensorGroup
from llm.parallel.tensor.operators import copy
from llm.parallel.tensor.shared import SharedRMSNorm, SharedRows, SplitRMSNorm
from minigrad.backend import Array
from minigrad.random import placed
from minigrad.tensor import Tensor


class SplitAttention(Attention):
    """As `Attention`; `config` is that of the whole model."""

    def __init__(self, config: GPTConfig, layer: int, dtype: Any, group: TensorGroup):
        self.queries, keys, _ = split_heads(config, group.rank, group.size)
        own = replace(config, heads=len(self.queries), kv_heads=len(keys), head_dim=config.head_size)
        super().__init__(own, layer, dtype)
        self.group, self.all_heads = group, config.heads
        if group.rank > 0:
            self.out.bias = None  # the outputs are added up, and a bias must be added once
        if group.sharers.size > 1:
            self.qkv = SharedRows(self.qkv, len(self.queries) * config.head_size, group.sharers)
        if config.qk_norm:
            self._split_norms(config, dtype)

    def _split_norms(self, config: GPTConfig, dtype: Any) -> None:
        ranks, D = self.group.ranks, config.head_size
        if not config.qk_norm_all:  # a norm for each head, with the same weight
            self.query_norm = SharedRMSNorm(self.query_norm, lambda weight: copy(weight, ranks))
            self.key_norm = SharedRMSNorm(self.key_norm, lambda weight: copy(weight, ranks))
            return
        for name, heads, sharers in (
            ("query_norm", config.heads, Alone()),
            ("key_norm", config.key_heads, self.group.sharers),
        ):
            own = getattr(self, name).weight.size
            setattr(self, name, SplitRMSNorm(own, heads * D, config.norm_eps, dtype, ranks, sharers))

    def forward(self, x: Tensor, settings: LayerSettings, update_cache: UpdateCache | None = None) -> Tensor:
        # Dropout: the weights (B, H, T, S) are those of some heads.
        with placed(self.group.place(1, self.all_heads)):
            y = super().forward(self.group.enter(x), self._of_own_heads(settings), update_cache)
        return self.group.leave(y)

    def decode(self, x: Array, settings: LayerSettings, update_cache: UpdateCache | None = None) -> Array:
        return self.group.ranks.all_reduce(super().decode(x, self._of_own_heads(settings), update_cache))

    def _of_own_heads(self, settings: LayerSettings) -> LayerSettings:
        bias, own = settings.bias, slice(self.queries.start, self.queries.stop)
        if bias is None:
            return settings
        return replace(settings, bias=bias.of_heads(own) if isinstance(bias, AlibiBias) else bias[:, own])
