"""The first Transformer, encoder and decoder: Vaswani et al. 2017, "Attention Is All You Need" (arXiv 1706.03762).

It reads a source text, and writes a target text. A GPT is its right half without the attention in the middle:

                          logits                          (B, T, V)
                            |
                 embedding, transposed
                            |
    add & norm ---.     add & norm
    MLP           |     MLP
    add & norm    |     add & norm
    attention     '-->  attention to the source (cross)
        x N             add & norm                        layers: config.layers on each side
         |              causal attention
         |                  x N
    + sinusoids          + sinusoids
    embedding            embedding                        one matrix for all three, times sqrt(C) (section 3.4)
         |                  |
      source             target, one token to the right

Attention, MLP and norms are those of the GPT. New are the attention that looks both ways, the one that looks at the
source, and how all is put together. Sizes: config.py; S is the number of source tokens, T that of target tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from llm.model.attention import Attention, attention_scale
from llm.model.block import Block, make_norm
from llm.model.config import GPTConfig
from llm.model.kv_cache import KVCache, UpdateCache, take_rows
from llm.model.masks import LayerSettings
from llm.model.positions import PositionTable, sinusoids
from minigrad.backend import Array, to_device
from minigrad.checkpoint import checkpoint
from minigrad.fused.attention import attention
from minigrad.fused.linear import linear
from minigrad.fused.linear_cross_entropy import linear_cross_entropy
from minigrad.nn import Dropout, Embedding, Linear, Module, ModuleList
from minigrad.nn.module import Parameter
from minigrad.tensor import Tensor, as_tensor

IGNORED = -100  # a target that does not count: padding
# What the paper chose, and `Transformer` supports.
PAPER: dict[str, Any] = {"positions": "sinusoidal", "norm_position": "post", "tied_head": True, "experts": None}
PAPER |= {"kv_heads": None, "qk_norm": False, "attention_soft_cap": None, "soft_cap": None, "window": None}
PAPER |= {"parallel": False, "embedding_norm": False, "embedding_scale": 1.0}  # the scale besides sqrt(C)


class Transformer(Module):
    """Source ids (B, S) and target ids (B, T) in, logits (B, T, V) of the token after each target token out.

    `config`: see `check_config`. `rng`: a seed or a generator for the initial weights; with None matrices are zero.
    """

    recompute = False  # activation checkpointing, as in GPT

    def __init__(self, config: GPTConfig, rng: np.random.Generator | int | None = 0, dtype: Any = np.float32):
        check_config(config)
        self.config, self.context = config, config.context
        self.embedding = Embedding(config.vocab_size, config.dim, dtype=dtype, init=False)
        self.encoder = ModuleList(EncoderLayer(config, n, dtype) for n in range(config.layers))
        self.decoder: Any = ModuleList(DecoderLayer(config, n, dtype) for n in range(config.layers))
        self.dropout = Dropout(config.dropout)
        self._sinusoids = PositionTable(lambda positions, dtype, _: (sinusoids(positions, config.dim, dtype),))
        if rng is not None:
            self.initialize(np.random.default_rng(rng))

    def forward(self, source: Any, target: Any, mask: Any = None) -> Tensor:
        """`mask` (B, S): True at real source tokens, False at padding behind them; None: all are real.

        Padding behind the target needs no mask, because nothing before it looks there.
        """
        return self.logits(self.decode(target, self.encode(source, mask)))

    def encode(self, source: Any, mask: Any = None) -> Memory:
        """The left half: what the decoder needs of the source."""
        x = self.embed(source)  # (B, S, C)
        mask = None if mask is None else to_device(as_tensor(mask).data, x.device)[:, None, None]  # (B, 1, 1, S)
        for layer in self.encoder:
            x = self._apply(layer, x, LayerSettings(mask=mask))  # (B, S, C)
        # Each layer of the decoder has its own keys and values of the source. They do not depend on the target, so they
        # are computed once, however many target tokens are written.
        return Memory([layer.cross.keys_and_values(x) for layer in self.decoder], mask)

    def decode(self, target: Any, memory: Memory, cache: KVCache | None = None) -> Tensor:
        """The right half, without its head: (B, T, C). With `cache`, `target` continues the text that is in it."""
        start = 0 if cache is None else cache.length
        y = self.embed(target, start)  # (B, T, C)
        for number, (layer, source) in enumerate(zip(self.decoder, memory.keys_and_values)):
            update = None if cache is None else partial(cache.append, number)
            y = self._apply(layer, y, source, memory.mask, update)  # (B, T, C)
        if cache is not None:
            cache.advance(slice(0, start + y.shape[1]))
        return y

    def logits(self, y: Tensor) -> Tensor:
        """The head: (..., C) -> (..., V). Its weight is the embedding."""
        return linear(y, self.embedding.weight)

    def loss(
        self,
        source: Any,
        target: Any,
        following: Any,
        *,
        mask: Any = None,
        label_smoothing: float = 0.0,
        reduction: Literal["mean", "sum", "none"] = "mean",
    ) -> Tensor:
        """Cross-entropy in nats: following[b, t] is the id after target[b, t], or IGNORED. `mask`: as in `forward`.

        With label smoothing e, the model shall give 1 - e + e / V to the right token and e / V to each other one
        (Szegedy et al. 2016, PyTorch). Where others divide e among the V - 1 wrong tokens (tensor2tensor), the same is
        called e (V - 1) / V.
        """
        y = self.decode(target, self.encode(source, mask))
        following = to_device(as_tensor(following).data, y.device)
        options: dict[str, Any] = {"ignore_index": IGNORED, "label_smoothing": label_smoothing, "reduction": reduction}
        return linear_cross_entropy(y, self.embedding.weight, following, **options)

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw all weights anew."""
        for name, p in self.named_parameters():
            p.data[...] = to_device(initial_values(name, p, rng), p.device)

    @property
    def device(self) -> str:
        return self.embedding.weight.device

    @property
    def dtype(self) -> np.dtype:
        return self.embedding.weight.dtype

    def embed(self, ids: Any, start: int = 0) -> Tensor:
        """Embeddings of tokens (B, T) whose positions begin at `start`: (B, T, C). Sections 3.4, 3.5 and 5.4."""
        ids = as_tensor(ids).data
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise ValueError(f"ids must be integers of shape (batch, tokens), got {ids.dtype} of shape {ids.shape}")
        x = self.embedding(ids) * math.sqrt(self.config.dim)  # (B, T, C)
        (waves,) = self._sinusoids(slice(start, start + ids.shape[1]), x.data)  # (T, C)
        return self.dropout(x + Tensor(waves))

    def _apply(self, layer: Module, *inputs: Any) -> Tensor:
        return checkpoint(layer, *inputs) if self.recompute else layer(*inputs)


KeysAndValues = tuple[Tensor, Tensor]  # (B, K, S, D) each


@dataclass
class Memory:
    """What the decoder needs of the source: keys and values for each of its layers, and which tokens are real."""

    keys_and_values: list[KeysAndValues]
    mask: Array | None  # (B, 1, 1, S)

    def select(self, rows: Sequence[int]) -> Memory:
        """That of these rows, in this order."""
        pairs = [(Tensor(take_rows(k.data, rows)), Tensor(take_rows(v.data, rows))) for k, v in self.keys_and_values]
        return Memory(pairs, None if self.mask is None else take_rows(self.mask, rows))


class EncoderLayer(Block):
    """x (B, S, C) -> (B, S, C). `Block.forward` computes it: LayerNorm(x + Sublayer(x)), section 3.1."""

    def __init__(self, config: GPTConfig, layer: int = 0, dtype: Any = np.float32):
        super().__init__(config, layer, dtype)
        self.attention = FullAttention(config, layer, dtype)


class DecoderLayer(Block):
    """y (B, T, C) -> (B, T, C)."""

    def __init__(self, config: GPTConfig, layer: int = 0, dtype: Any = np.float32):
        super().__init__(config, layer, dtype)
        self.cross, self.norm3 = CrossAttention(config, layer, dtype), make_norm(config, dtype)

    def forward(  # type: ignore[override]  # it needs the source too
        self, y: Tensor, source: KeysAndValues, mask: Array | None, update_cache: UpdateCache | None = None
    ) -> Tensor:
        y = self.before_cross(y, update_cache)
        y = self.norm2(y + self.dropout(self.cross(y, *source, mask)))
        return self.norm3(y + self.dropout(self.mlp(y)))

    def before_cross(self, y: Tensor, update_cache: UpdateCache | None = None) -> Tensor:
        """What asks the source: y after the attention to earlier target tokens."""
        return self.norm1(y + self.dropout(self.attention(y, LayerSettings(), update_cache)))


class FullAttention(Attention):
    """Attention in which each token sees all others, also later ones: for texts that are read, not written."""

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, settings: LayerSettings) -> Tensor:
        dropout = self.config.dropout if self.training else 0.0
        return attention(q, k, v, causal=False, scale=self.scale, mask=settings.mask, dropout=dropout)


class CrossAttention(Module):
    """Equation 1, with Q of the target and K, V of the source: y (B, T, C) -> (B, T, C)."""

    def __init__(self, config: GPTConfig, layer: int = 0, dtype: Any = np.float32):
        self.config, self.scale = config, attention_scale(config, layer)
        C, H, K, D, bias = config.dim, config.heads, config.key_heads, config.head_size, config.has_bias("qkv")
        self.query = Linear(C, H * D, bias=bias, dtype=dtype, init=False)
        self.key_value = Linear(C, 2 * K * D, bias=bias, dtype=dtype, init=False)  # rows: all keys, then all values
        self.out = Linear(H * D, C, bias=config.has_bias("out"), dtype=dtype, init=False)

    def forward(self, y: Tensor, keys: Tensor, values: Tensor, mask: Array | None) -> Tensor:
        (B, T, _), dropout = y.shape, self.config.dropout if self.training else 0.0
        z = attention(self.queries(y), keys, values, causal=False, scale=self.scale, mask=mask, dropout=dropout)
        return self.out(z.swapaxes(1, 2).reshape(B, T, -1))  # (B, H, T, D) -> (B, T, C)

    def queries(self, y: Tensor) -> Tensor:
        return self._heads(self.query(y), self.config.heads)  # (B, H, T, D)

    def keys_and_values(self, memory: Tensor) -> KeysAndValues:
        """Of the source (B, S, C), which the encoder has read: (B, K, S, D) each."""
        K, both = self.config.key_heads, self._heads(self.key_value(memory), 2 * self.config.key_heads)
        return both[:, :K], both[:, K:]

    def _heads(self, x: Tensor, heads: int) -> Tensor:
        return x.reshape(*x.shape[:2], heads, self.config.head_size).swapaxes(1, 2)  # (B, heads, T, D)


def check_config(config: GPTConfig) -> None:
    """Raise ValueError for a choice that is not one of the first Transformer, and would change nothing here."""
    for name, value in PAPER.items():
        if (given := getattr(config, name)) != value:
            raise ValueError(
                f"{name}={given!r} is not possible with an encoder and a decoder, which need {name}={value!r}; "
                "--preset transformer-translate has all that they need"
            )


def initial_values(name: str, p: Parameter, rng: np.random.Generator) -> np.ndarray:
    """The paper does not say how weights begin. Matrices: Glorot and Bengio 2010. Biases 0, weights of norms 1."""
    if p.ndim < 2:
        return np.full(p.shape, 0.0 if name.endswith("bias") else 1.0, np.float32)
    if name == "embedding.weight":  # times sqrt(C), its numbers are as large as those of the sinusoids
        return rng.standard_normal(p.shape, dtype=np.float32) / np.float32(math.sqrt(p.shape[1]))
    limit = math.sqrt(6 / sum(p.shape))
    return (rng.random(p.shape, dtype=np.float32) * 2 - 1) * np.float32(limit)
