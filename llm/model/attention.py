"""Self-attention: each token collects the values of earlier tokens, weighted by how well their keys fit its query.

Multi-head attention: Vaswani et al. 2017 (arXiv 1706.03762). With K < H key-value heads it is grouped-query attention
(Ainslie et al. 2023, arXiv 2305.13245), with K = 1 multi-query attention (Shazeer 2019, arXiv 1911.02150). QK-norm:
Henry et al. 2020 (arXiv 2010.04245), with RMSNorm as in Qwen3. Scores, softmax and weighted sum are computed in
minigrad/fused/attention.py. Sizes (B, T, C ...): config.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.model.kv_cache import UpdateCache
from llm.model.masks import LayerSettings
from minigrad.backend import Array
from minigrad.fused.attention import attention, single_query_attention
from minigrad.fused.ragged_attention import Ragged, ragged_attention
from minigrad.fused.rope import rope, rotate
from minigrad.nn import Linear, Module, RMSNorm
from minigrad.tensor import Tensor


class Attention(Module):
    """x (B, T, C) -> (B, T, C)."""

    def __init__(self, config: GPTConfig, layer: int = 0, dtype: Any = np.float32):
        """`layer`: the number of the layer, counted from 0; for `attention_scale_by_layer` only."""
        self.config, self.scale = config, attention_scale(config, layer)
        C, H, K, D = config.dim, config.heads, config.key_heads, config.head_size
        # One product makes all three. Rows of the matrix: the query heads, then the key heads, then the value heads.
        self.qkv = Linear(C, (H + 2 * K) * D, bias=config.has_bias("qkv"), dtype=dtype, init=False)
        self.out = Linear(H * D, C, bias=config.has_bias("out"), dtype=dtype, init=False)
        if config.qk_norm:
            query_width, key_width = (H * D, K * D) if config.qk_norm_all else (D, D)
            self.query_norm = RMSNorm(query_width, eps=config.norm_eps, dtype=dtype)
            self.key_norm = RMSNorm(key_width, eps=config.norm_eps, dtype=dtype)

    def forward(self, x: Tensor, settings: LayerSettings, update_cache: UpdateCache | None = None) -> Tensor:
        """`settings`: masks and positions of this call.

        `update_cache`: appends keys and values to the cache, and returns all that it holds now, of S tokens.
        """
        config, (B, T, _) = self.config, x.shape
        q, k, v = self._queries_keys_values(x)  # (B, H, T, D), (B, K, T, D), (B, K, T, D)
        if settings.rotation is not None:
            q, k = (rope(a, *settings.rotation, interleaved=config.rope_interleaved) for a in (q, k))
        if update_cache is not None:
            # The cache stores keys after rotation. That is right, because the rotation of a key depends only on its own
            # position, not on that of the query.
            k, v = update_cache(k, v)  # (B, K, S, D), (B, K, S, D)
        if isinstance(k, Ragged):  # each row is a token, and continues one of several texts (cache_pool.py)
            cap = config.attention_soft_cap
            y = Tensor(ragged_attention(q.data, k, v, self.scale, settings.window, settings.bias, cap))
        else:
            y = self._attend(q, k, v, settings)
        y = y.swapaxes(1, 2).reshape(B, T, config.heads * config.head_size)  # (B, T, H * D)
        return self.out(y)  # (B, T, C)

    def _queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, C) -> (B, H, T, D), (B, K, T, D) and (B, K, T, D), before the rotation."""
        config, (B, T, _) = self.config, x.shape
        H, K, D = config.heads, config.key_heads, config.head_size
        qkv = self.qkv(x).reshape(B, T, H + 2 * K, D)  # (B, T, H + 2 * K, D)
        q, k, v = qkv[:, :, :H], qkv[:, :, H : H + K], qkv[:, :, H + K :]  # (B, T, H, D), (B, T, K, D), (B, T, K, D)
        if config.qk_norm_all and config.qk_norm:  # OLMo 2: the elements of all heads are normalised as one vector
            q = self.query_norm(q.reshape(B, T, H * D)).reshape(B, T, H, D)
            k = self.key_norm(k.reshape(B, T, K * D)).reshape(B, T, K, D)
        elif config.qk_norm:
            q, k = self.query_norm(q), self.key_norm(k)
        # With the heads before the tokens, each head is a (T, D) matrix: one batched matrix product for all heads.
        return q.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, settings: LayerSettings) -> Tensor:
        """softmax(scale q kᵀ) v, for keys that are not later than the query: (B, H, T, D)."""
        return attention(
            q, k, v, scale=self.scale, soft_cap=self.config.attention_soft_cap, window=settings.window,
            bias=settings.bias, mask=settings.mask, dropout=self.config.dropout if self.training else 0.0,
        )  # fmt: skip

    def decode(self, x: Array, settings: LayerSettings, update_cache: UpdateCache | None = None) -> Array:
        """`forward` for one token in each row, on plain arrays: (B, C) -> (B, C). Without masks; see `can_decode`."""
        config, B = self.config, len(x)
        H, K, D = config.heads, config.key_heads, config.head_size
        # With T = 1, (B, T, H, D) and (B, H, T, D) are the same memory, so nothing has to be transposed.
        qkv = self.qkv.forward_array(x).reshape(B, H + 2 * K, 1, D)  # (B, H + 2 * K, 1, D)
        q, k, v = qkv[:, :H], qkv[:, H : H + K], qkv[:, H + K :]  # (B, H, 1, D), (B, K, 1, D), (B, K, 1, D)
        if config.qk_norm:
            q, k = self.query_norm.forward_array(q), self.key_norm.forward_array(k)
        if settings.rotation is not None:
            q, k = (rotate(a, *settings.rotation, interleaved=config.rope_interleaved) for a in (q, k))
        if update_cache is not None:
            k, v = update_cache(k, v)  # (B, K, S, D), (B, K, S, D)
        if isinstance(k, Ragged):  # rows continue texts of different lengths (cache_pool.py)
            y = ragged_attention(q, k, v, self.scale, settings.window, settings.bias)
        else:
            y = single_query_attention(q, k, v, self.scale, settings.window, settings.bias)  # (B, H, 1, D)
        return self.out.forward_array(y.reshape(B, H * D))  # (B, C)


def attention_scale(config: GPTConfig, layer: int) -> float:
    """The number that scores are multiplied by."""
    # The product of two vectors of D independent numbers with variance 1 has the variance D; divided by its square
    # root, scores have about the same size for heads of every width.
    scale = 1 / math.sqrt(config.head_size) if config.attention_scale is None else config.attention_scale
    return scale / (layer + 1) if config.attention_scale_by_layer else scale
