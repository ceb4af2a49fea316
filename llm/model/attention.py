"""Self-attention: each token gathers from the tokens before it what their values say, in proportion to how well keys
fit its query.

Multi-head attention: Vaswani et al. 2017 (arXiv 1706.03762); with K < H key-value heads it is grouped-query attention
(Ainslie et al. 2023, arXiv 2305.13245), with K = 1 multi-query attention (Shazeer 2019, arXiv 1911.02150). QK-norm:
Henry et al. 2020 (arXiv 2010.04245), with RMSNorm as in Qwen3. Letters: llm/model/config.py. The work is done in
minigrad/fused/attention.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.model.masks import Sight
from llm.model.undrawn import UNDRAWN
from minigrad.fused.attention import attention
from minigrad.fused.rope import rope
from minigrad.nn import Linear, Module, RMSNorm
from minigrad.tensor import Tensor


class Attention(Module):
    """x (B, T, C) -> (B, T, C)."""

    def __init__(self, config: GPTConfig, dtype: Any = np.float32):
        self.config = config
        C, H, K, D = config.dim, config.heads, config.key_heads, config.head_size
        # rows of the weight: query heads, then key heads, then value heads
        self.qkv = Linear(C, (H + 2 * K) * D, bias=config.bias, rng=UNDRAWN, dtype=dtype)
        self.out = Linear(H * D, C, bias=config.bias, rng=UNDRAWN, dtype=dtype)
        if config.qk_norm:
            self.query_norm = RMSNorm(D, eps=config.norm_eps, dtype=dtype)
            self.key_norm = RMSNorm(D, eps=config.norm_eps, dtype=dtype)

    def forward(self, x: Tensor, sight: Sight, keep: Callable[[Any, Any], tuple[Any, Any]] | None = None) -> Tensor:
        """`sight`: who sees whom. `keep`: puts the keys and values into a cache and returns all that are there, S of
        them.
        """
        config, (B, T, _) = self.config, x.shape
        H, K, D = config.heads, config.key_heads, config.head_size
        qkv = self.qkv(x).reshape(B, T, H + 2 * K, D)  # (B, T, H + 2 * K, D)
        q, k, v = qkv[:, :, :H], qkv[:, :, H : H + K], qkv[:, :, H + K :]  # (B, T, H, D), (B, T, K, D), (B, T, K, D)
        if config.qk_norm:
            q, k = self.query_norm(q), self.key_norm(k)
        q, k, v = q.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2)  # (B, H, T, D), (B, K, T, D), (B, K, T, D)
        if sight.rotation is not None:
            q, k = (rope(x, *sight.rotation, interleaved=config.rope_interleaved) for x in (q, k))
        if keep is not None:
            k, v = keep(k.data, v.data)  # (B, K, S, D), (B, K, S, D)
        y = attention(
            q,
            k,
            v,
            window=sight.window,
            bias=sight.bias,
            mask=sight.mask,
            dropout=config.dropout if self.training else 0.0,
        )  # (B, H, T, D)
        y = y.swapaxes(1, 2).reshape(B, T, H * D)  # (B, T, H * D)
        return self.out(y)  # (B, T, C)
