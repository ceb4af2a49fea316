"""One layer of the model: attention, then an MLP. Each adds its output to x, the residual stream.

Where x is normalised is a choice (`norm_position`), and whether the two run one after the other or side by side
(`parallel`). Each form is written out. Sizes (B, T, C ...): config.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.attention import Attention
from llm.model.config import GPTConfig
from llm.model.kv_cache import UpdateCache
from llm.model.masks import AttentionSettings
from llm.model.mlp import MLP
from minigrad.backend import Array
from minigrad.nn import Dropout, LayerNorm, Module, RMSNorm
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
        self.mlp = MLP(config, dtype=dtype)
        if config.norm_position == "both":  # norm1 and norm2 are for the inputs, these for the outputs
            self.out_norm1, self.out_norm2 = make_norm(config, dtype), make_norm(config, dtype)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, settings: AttentionSettings, update_cache: UpdateCache | None = None) -> Tensor:
        if self.config.parallel:
            return self._parallel(x, settings, update_cache)
        match self.config.norm_position:
            case "pre":  # GPT-2, Llama: the input of a sublayer is normalised, the residual stream is not
                x = x + self.dropout(self.attention(self.norm1(x), settings, update_cache))
                return x + self.dropout(self.mlp(self.norm2(x)))
            case "post":  # the first Transformer: the sum is normalised
                x = self.norm1(x + self.dropout(self.attention(x, settings, update_cache)))
                return self.norm2(x + self.dropout(self.mlp(x)))
            case "output":  # OLMo 2 (arXiv 2501.00656): the output is normalised, so no layer can add a huge vector
                x = x + self.dropout(self.norm1(self.attention(x, settings, update_cache)))
                return x + self.dropout(self.norm2(self.mlp(x)))
            case "both":  # Gemma 2 (arXiv 2408.00118): input and output are normalised
                x = x + self.dropout(self.out_norm1(self.attention(self.norm1(x), settings, update_cache)))
                return x + self.dropout(self.out_norm2(self.mlp(self.norm2(x))))

    def _parallel(self, x: Tensor, settings: AttentionSettings, update_cache: UpdateCache | None) -> Tensor:
        """Both sublayers read the same x, so they could run at the same time: GPT-J (2021), PaLM (arXiv 2204.02311)."""
        for_attention = self.norm1(x)
        for_mlp = for_attention if self.config.shared_norm else self.norm2(x)
        y = self.dropout(self.attention(for_attention, settings, update_cache)) + self.dropout(self.mlp(for_mlp))
        return x + y

    # --- one token in each row, on plain arrays -------------------------------------------------------------------

    @property
    def can_decode(self) -> bool:
        """Whether `decode` knows all choices of the model. With others, single tokens go through `forward` too."""
        c = self.config
        rare = c.parallel, c.attention_soft_cap is not None, c.qk_norm_all, c.experts is not None
        return c.norm_position in ("pre", "post") and not any(rare)

    def decode(self, x: Array, settings: AttentionSettings, update_cache: UpdateCache | None = None) -> Array:
        """`forward` for one token in each row, on plain arrays: (B, C) -> (B, C)."""
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
