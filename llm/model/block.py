"""One layer of the model: attention, then an MLP. Each adds its output to x, the residual stream.

Where x is normalised is a choice (`norm_position`), and whether the two run one after the other or side by side
(`parallel`). Each form is written out. Sizes (B, T, C ...): config.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from llm.model.attention import Attention
from llm.model.config import GPTConfig
from llm.model.experts import Experts, Routing, largest
from llm.model.kv_cache import UpdateCache
from llm.model.masks import LayerSettings
from llm.model.mlp import MLP
from minigrad.backend import Array
from minigrad.checkpoint import checkpoint
from minigrad.nn import Dropout, LayerNorm, Module, RMSNorm
from minigrad.ops import concatenate
from minigrad.tensor import Tensor


class Block(Module):
    """x (B, T, C) -> (B, T, C)."""

    def __init__(self, config: GPTConfig, layer: int = 0, dtype: Any = np.float32):
        """`layer`: the number of the layer, counted from 0."""
        self.config = config
        self.norm1 = make_norm(config, dtype)
        self.attention = Attention(config, layer, dtype)
        if not config.shared_norm:
            self.norm2 = make_norm(config, dtype)
        self.mlp = Experts(config, dtype) if config.has_experts(layer) else MLP(config, config.mlp_width(layer), dtype)
        if config.norm_position == "both":  # norm1 and norm2 are for the inputs, these for the outputs
            self.out_norm1, self.out_norm2 = make_norm(config, dtype), make_norm(config, dtype)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, settings: LayerSettings, update_cache: UpdateCache | None = None) -> Tensor:
        if self.config.parallel:
            return self._parallel(x, settings, update_cache)
        match self.config.norm_position:
            case "pre":  # GPT-2, Llama: the input of a sublayer is normalised, the residual stream is not
                x = x + self.dropout(self.attention(self.norm1(x), settings, update_cache))
                return x + self.dropout(self._mlp(self.norm2(x), settings))
            case "post":  # the first Transformer: the sum is normalised
                x = self.norm1(x + self.dropout(self.attention(x, settings, update_cache)))
                return self.norm2(x + self.dropout(self._mlp(x, settings)))
            case "output":  # OLMo 2 (arXiv 2501.00656): the output is normalised, so no layer can add a huge vector
                x = x + self.dropout(self.norm1(self.attention(x, settings, update_cache)))
                return x + self.dropout(self.norm2(self._mlp(x, settings)))
            case "both":  # Gemma 2 (arXiv 2408.00118): input and output are normalised
                x = x + self.dropout(self.out_norm1(self.attention(self.norm1(x), settings, update_cache)))
                return x + self.dropout(self.out_norm2(self._mlp(self.norm2(x), settings)))

    def _parallel(self, x: Tensor, settings: LayerSettings, update_cache: UpdateCache | None) -> Tensor:
        """Both sublayers read the same x, so they could run at the same time: GPT-J (2021), PaLM (arXiv 2204.02311)."""
        for_attention = self.norm1(x)
        for_mlp = for_attention if self.config.shared_norm else self.norm2(x)
        y = self.dropout(self.attention(for_attention, settings, update_cache)) + self.dropout(
            self._mlp(for_mlp, settings)
        )
        return x + y

    def _mlp(self, x: Tensor, settings: LayerSettings) -> Tensor:
        return self.mlp(x, settings.routing) if isinstance(self.mlp, Experts) else self.mlp(x)

    # --- one token in each row, on plain arrays -------------------------------------------------------------------

    @property
    def can_decode(self) -> bool:
        """Whether `decode` knows all choices of the model. With others, single tokens go through `forward` too."""
        c = self.config
        rare = c.parallel, c.attention_soft_cap is not None, c.qk_norm_all, c.experts is not None
        return c.norm_position in ("pre", "post") and not any(rare)

    def decode(self, x: Array, settings: LayerSettings, update_cache: UpdateCache | None = None) -> Array:
        """`forward` for one token in each row, on plain arrays: (B, C) -> (B, C)."""
        assert isinstance(self.mlp, MLP), "see can_decode"
        if self.config.norm_position == "post":
            x = self.norm1.forward_array(x + self.attention.decode(x, settings, update_cache))
            return self.norm2.forward_array(x + self.mlp.decode(x))
        x = x + self.attention.decode(self.norm1.forward_array(x), settings, update_cache)
        x += self.mlp.decode(self.norm2.forward_array(x))  # in place: the line above has just created x
        return x


def make_norm(config: GPTConfig, dtype: Any) -> LayerNorm | RMSNorm:
    if config.norm == "rmsnorm":
        return RMSNorm(config.dim, eps=config.norm_eps, dtype=dtype)
    return LayerNorm(config.dim, eps=config.norm_eps, bias=config.has_bias("norm"), dtype=dtype)


def recomputed(block: Block, x: Tensor, settings: LayerSettings, update_cache: UpdateCache | None = None) -> Tensor:
    """`block(x, settings, update_cache)`, with activation checkpointing: computed again in the backward pass."""
    if settings.routing is None or not isinstance(block.mlp, Experts):
        return checkpoint(block, x, settings, update_cache)
    # The balancing loss needs the probabilities of the router too, and a checkpoint returns one tensor: both in one.
    C, k = x.shape[-1], block.config.experts_per_token

    def both(x: Tensor) -> Tensor:
        routing: list[Routing] = []
        y = block(x, replace(settings, routing=routing), update_cache)
        return concatenate([y.reshape(-1, C), routing[0].probabilities], axis=1)  # (B * T, C + E)

    joined = checkpoint(both, x)
    probabilities = joined[:, C:]
    settings.routing.append(Routing(probabilities, largest(probabilities.data, k)))
    return joined[:, :C].reshape(x.shape)
