"""A GPT whose every layer is split over ranks. It has the methods of `GPT`, and each rank calls the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.block import Block
from llm.model.cache_pool import Cache
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.initial import initial_values
from llm.model.masks import LayerSettings
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.shapes import parameter_shapes
from llm.parallel.shards import shard, split_evenly
from llm.parallel.tensor.attention import SplitAttention
from llm.parallel.tensor.experts import split_experts
from llm.parallel.tensor.group import TensorGroup
from llm.parallel.tensor.mlp import SplitMLP
from llm.parallel.tensor.operators import collect, copy, own
from llm.parallel.tensor.shared import shared_norm
from llm.parallel.tensor.vocabulary import SplitEmbedding, SplitSoftmax
from minigrad.backend import Array, to_device
from minigrad.fused.linear import linear
from minigrad.fused.linear_cross_entropy import split_linear_cross_entropy
from minigrad.fused.loss_options import LossOptions
from minigrad.nn import LayerNorm, Linear, RMSNorm
from minigrad.random import placed
from minigrad.tensor import Tensor


class SplitGPT(GPT):
    """As `GPT`, with the parts of one rank. `sequence`: divide the tokens too, between the layers (group.py).

    Loss, logits and hidden vectors are whole, and the same on all ranks. Raises ValueError if the model cannot be split
    over so many ranks. With experts, tokens cannot be divided: the balancing loss is that of all tokens.
    """

    def __init__(
        self,
        config: GPTConfig,
        ranks: Communicator,
        rng: np.random.Generator | int | None = 0,
        dtype: Any = np.float32,
        *,
        sequence: bool = False,
    ):
        if sequence and config.experts is not None:
            raise ValueError("sequence parallelism cannot divide the tokens of a model with experts; use it without")
        self.group, self.sequence = TensorGroup(config, ranks), sequence
        self._softmax = SplitSoftmax(config.vocab_size, ranks)
        super().__init__(config, rng, dtype)

    # --- its parts ----------------------------------------------------------------------------------------------------

    def _make_embeddings(self, dtype: Any) -> None:
        super()._make_embeddings(dtype)
        self.embedding = SplitEmbedding(self.config.vocab_size, self.config.dim, dtype, self.group.ranks)

    def _make_block(self, layer: int, dtype: Any) -> Block:
        config, group = self.config, self.group
        block = Block(config, layer, dtype)  # its whole matrices take no memory: nobody writes to them
        block.attention = SplitAttention(config, layer, dtype, group)
        if config.has_experts(layer):
            block.mlp = split_experts(config, dtype, group)
        else:
            block.mlp = SplitMLP(config, config.mlp_width(layer), dtype, group)
        for name, norm in list(block.named_children()):
            if isinstance(norm, (LayerNorm, RMSNorm)):
                setattr(block, name, shared_norm(norm, group.share))
        return block

    def _make_head(self, dtype: Any) -> None:
        super()._make_head(dtype)
        if not self.config.tied_head:
            rows = split_evenly(self.config.vocab_size, self.group.rank, self.group.size)
            self.head = Linear(self.config.dim, len(rows), bias=self.config.head_bias, dtype=dtype, init=False)

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw the weights of the whole model, one after the other, and keep the part of this rank."""
        parameters = dict(self.named_parameters())
        for name, shape in parameter_shapes(self.config):
            whole = initial_values(name, shape, self.config.layers, rng)
            part = shard(self.config, name, shape, self.group.rank, self.group.size)
            if part is not None and (p := parameters.get(name)) is not None:  # a stage has some of the layers
                p.data[...] = to_device(part.part(whole), p.device)

    # --- what it computes ---------------------------------------------------------------------------------------------

    def _apply_blocks(self, x: Tensor, settings: list[LayerSettings], cache: Cache | None) -> Tensor:
        ranks, tokens = self.group.ranks, x.shape[1]
        if not self.sequence or cache is not None or tokens < ranks.size:
            self.group.tokens = None
            return super()._apply_blocks(x, settings, cache)
        self.group.tokens = tokens
        with placed(self.group.place(1, tokens)):
            x = super()._apply_blocks(own(x, ranks, 1), settings, cache)  # (B, T / ranks, C)
        return collect(x, ranks, 1, tokens)  # (B, T, C)

    def _head_product(self, x: Tensor) -> Tensor:
        ranks = self.group.ranks
        logits = linear(copy(x, ranks), self.head_weight, self.head_bias)  # (..., V_r)
        return collect(logits, ranks, -1, self.config.vocab_size)  # (..., V)

    def _head_loss(self, x: Tensor, targets: Array, **options: Any) -> Tensor:
        x, cap, V = copy(x, self.group.ranks), self.config.soft_cap, self.config.vocab_size
        head = self.head_weight, targets, self.head_bias, LossOptions.of(**options)
        return split_linear_cross_entropy(x, *head, soft_cap=cap, softmax=self._softmax, classes=V)
