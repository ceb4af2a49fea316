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
from llm.model.masks import AttentionSettings
from minigrad.backend import Array
from minigrad.fused.attention import attention, single_query_attention
from minigrad.fused.rope import rope, rotate
from minigrad.nn import Linear, Module, RMSNorm
from minigrad.tensor import Tensor


class Attention(Module):
    """x (B, T, C) -> (B, T, C)."""

    def __init__(self, config: GPTConfig, dtype: Any = np.float32):
        self.config = config
        C, H, K, D = config.dim, config.heads, config.key_heads, config.head_size
        # One product makes all three. Rows of the matrix: the query heads, then the key heads, then the value heads.
        self.qkv = Linear(C, (H + 2 * K) * D, bias=config.bias, dtype=dtype, init=False)
        self.out = Linear(H * D, C, bias=config.bias, dtype=dtype, init=False)
        if config.qk_norm:
            self.query_norm = RMSNorm(D, eps=config.norm_eps, dtype=dtype)
            self.key_norm = RMSNorm(D, eps=config.norm_eps, dtype=dtype)

    def forward(self, x: Tensor, settings: AttentionSettings, update_cache: UpdateCache | None = None) -> Tensor:
        """`settings`: masks and positions of this call.

        `update_cache`: appends keys and values to the cache, and returns all that it holds now, of S tokens.
        """
        config, (B, T, _) = self.config, x.shape
        H, K, D = config.heads, config.key_heads, config.head_size
        qkv = self.qkv(x).reshape(B, T, H + 2 * K, D)  # (B, T, H + 2 * K, D)
        q, k, v = qkv[:, :, :H], qkv[:, :, H : H + K], qkv[:, :, H + K :]  # (B, T, H, D), (B, T, K, D), (B, T, K, D)
        if config.qk_norm:
            q, k = self.query_norm(q), self.key_norm(k)
        # With the heads before the tokens, each head is a (T, D) matrix: one batched matrix product for all heads.
        q, k, v = q.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2)  # (B, H, T, D), (B, K, T, D), (B, K, T, D)
        if settings.rotation is not None:
            q, k = (rope(a, *settings.rotation, interleaved=config.rope_interleaved) for a in (q, k))
        if update_cache is not None:
            # The cache stores keys after rotation. That is right, because the rotation of a key depends only on its own
            # position, not on that of the query.
            k, v = update_cache(k.data, v.data)  # (B, K, S, D), (B, K, S, D)
        dropout = config.dropout if self.training else 0.0
        # softmax(q kᵀ / sqrt(D)) v, for keys that are not later than the query
        y = attention(q, k, v, window=settings.window, bias=settings.bias, mask=settings.mask, dropout=dropout)
        y = y.swapaxes(1, 2).reshape(B, T, H * D)  # (B, T, H * D)
        return self.out(y)  # (B, T, C)

    def decode(self, x: Array, settings: AttentionSettings, update_cache: UpdateCache | None = None) -> Array:
        """`forward` for one token in each row, on plain arrays: (B, C) -> (B, C). For `settings` without a mask."""
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
        y = single_query_attention(q, k, v, 1 / math.sqrt(D), settings.window, settings.bias)  # (B, H, 1, D)
        return self.out.forward_array(y.reshape(B, H * D))  # (B, C)
