"""GPT: a transformer decoder that predicts the next token (Radford et al. 2018, 2019; Brown et al. 2020, arXiv
2005.14165).

What a `GPTConfig` chooses from, in any combination:

    positions       learned | sinusoidal | RoPE | ALiBi | none
    normalisation   LayerNorm | RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467), before or after each sublayer
    attention       multi-head | grouped-query | multi-query; free head size; QK-norm; sliding window (Mistral, arXiv 2310.06825)
    MLP             GELU, exact or tanh | ReLU squared | SwiGLU | GEGLU
    head            tied to the embedding (Press and Wolf 2017, arXiv 1608.05859) or not; soft cap on the logits (Gemma 2, arXiv 2408.00118)
    biases on or off; dropout on embeddings, attention weights and what sublayers add, as in GPT-2

and what any of them can do: padded batches, packed documents, a key-value cache (llm/model/kv_cache.py, and
llm/model/one_token.py for speed), head and loss in one function that never keeps the logits. Letters for sizes (B, T, C
...): llm/model/config.py. Read on downwards: GPT with its initialisation, then Block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fnmatch import fnmatch
from functools import partial
from typing import Any

import numpy as np

from llm.model.attention import Attention
from llm.model.config import GPTConfig
from llm.model.kv_cache import KVCache
from llm.model.masks import Sight, look
from llm.model.mlp import MLP
from llm.model.one_token import is_one_token, through_blocks
from llm.model.positions import Places, Table, end_of, index_on, place, sinusoids
from llm.model.undrawn import UNDRAWN
from minigrad.backend import to_device
from minigrad.checkpoint import checkpoint
from minigrad.fused.linear import linear
from minigrad.fused.linear_cross_entropy import linear_cross_entropy
from minigrad.fused.rope import rope_tables
from minigrad.modes import mode
from minigrad.nn import Dropout, Embedding, LayerNorm, Linear, Module, ModuleList, RMSNorm
from minigrad.tensor import Tensor, tensor


class GPT(Module):
    """Token ids (B, T) in, logits of the next token (B, T, V) out.

    `rng`: a seed or a generator for the initial weights; the same seed gives the same weights in every dtype. None
    leaves the matrices zero, for a state that is loaded right after. Set `recompute` to save memory: a block then keeps
    only its input, and is computed once more in the backward pass.
    """

    recompute = False

    def __init__(self, config: GPTConfig, rng: np.random.Generator | int | None = 0, dtype: Any = np.float32):
        self.config = config
        V, C = config.vocab_size, config.dim
        self.embedding = Embedding(V, C, rng=UNDRAWN, dtype=dtype)
        if config.positions == "learned":
            self.positions = Embedding(config.context, C, rng=UNDRAWN, dtype=dtype)
        self.dropout = Dropout(config.dropout)
        self.blocks = ModuleList(Block(config, dtype) for _ in range(config.layers))
        if config.norm_position == "pre":
            self.norm = make_norm(config, dtype)
        if not config.tied_head:
            self.head = Linear(C, V, bias=False, rng=UNDRAWN, dtype=dtype)
        self._sinusoids = Table(lambda positions, dtype: (sinusoids(positions, C, dtype),))
        self._rotary = Table(lambda positions, dtype: rope_tables(positions, config.head_size, config.rope_base, dtype))
        if rng is not None:
            self.initialize(np.random.default_rng(rng))

    def forward(
        self, ids: Any, *, positions: Any = None, mask: Any = None, documents: Any = None, cache: KVCache | None = None
    ) -> Tensor:
        """Logits (B, T, V) for integer `ids` (B, T): what follows each token.

        The options are (B, T), or (T,) for all rows. `mask`: False at padding, anywhere in a row. `documents`: a run of
        equal numbers is a document, and tokens see only their own. `positions`: instead of counting the real tokens of
        each document from 0; `window` and ALiBi go by them. `cache`: the ids continue what is in it, and are added to
        it; needs `no_grad()`.
        """
        return self.logits(self.hidden(ids, positions=positions, mask=mask, documents=documents, cache=cache))

    def loss(
        self,
        ids: Any,
        targets: Any,
        *,
        positions: Any = None,
        mask: Any = None,
        documents: Any = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        reduction: str = "mean",
    ) -> Tensor:
        """Cross-entropy, in nats, of the `targets` (B, T) that follow `ids` (B, T); padding and `ignore_index` count
        for nothing.

        `reduction`: "mean" over the targets that count, "sum", or "none" for (B, T). The rest as in `forward` and
        `linear_cross_entropy`.
        """
        x = self.hidden(ids, positions=positions, mask=mask, documents=documents)  # (B, T, C)
        targets = to_device(tensor(targets).data, x.device)
        if mask is not None:
            targets = np.where(to_device(tensor(mask).data, x.device), targets, ignore_index)
        return linear_cross_entropy(
            x,
            self.head_weight,
            targets,
            soft_cap=self.config.soft_cap,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
            reduction=reduction,
        )

    def hidden(
        self, ids: Any, *, positions: Any = None, mask: Any = None, documents: Any = None, cache: KVCache | None = None
    ) -> Tensor:
        """What the head reads, (B, T, C); arguments as in `forward`."""
        config, weight = self.config, self.embedding.weight
        ids = self._check_ids(ids)  # (B, T)
        places = self._places(ids.shape, positions, mask, documents, cache)
        sight = look(config, places, self._rotary if config.positions == "rope" else None, weight.data)
        x = self.embedding(ids)  # (B, T, C)
        if config.positions == "learned":
            x = x + self.positions.weight[index_on(places.queries, self.device)]
        elif config.positions == "sinusoidal":
            x = x * math.sqrt(config.dim) + Tensor(self._sinusoids(places.queries, weight.data)[0])
        x = self._through_blocks(self.dropout(x), sight, cache)
        if cache is not None:
            cache.advance(places.keys)
        return self.norm(x) if config.norm_position == "pre" else x

    def _through_blocks(self, x: Tensor, sight: Sight, cache: KVCache | None) -> Tensor:
        """What comes out of the last block: (B, T, C) -> (B, T, C). A single token in each row takes the fast rung,
        one_token.py.
        """
        if not self.training and is_one_token(x.data, sight):
            return Tensor(through_blocks(self.blocks, x.data[:, 0], sight, cache)[:, None])  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            keep = None if cache is None else partial(cache.append, layer)
            x = checkpoint(block, x, sight, keep) if self.recompute else block(x, sight, keep)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """The head: x (..., C), as `hidden` returns it, to logits (..., V)."""
        logits = linear(x, self.head_weight)  # (..., V)
        cap = self.config.soft_cap
        return logits if cap is None else cap * (logits / cap).tanh()

    @property
    def device(self) -> str:
        return self.embedding.weight.device

    @property
    def dtype(self) -> np.dtype:
        return self.embedding.weight.dtype

    @property
    def head_weight(self) -> Tensor:
        """(V, C)"""
        return self.embedding.weight if self.config.tied_head else self.head.weight

    def _check_ids(self, ids: Any) -> Any:
        """The ids as an array (B, T)."""
        ids = tensor(ids).data
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise ValueError(
                f"ids must be integers of shape (batch, tokens), got {ids.dtype} of shape {ids.shape}; "
                f"a single text needs a batch axis: ids[None]"
            )
        return ids

    def _places(
        self, shape: tuple[int, int], positions: Any, mask: Any, documents: Any, cache: KVCache | None
    ) -> Places:
        """Where the tokens stand; refuses what the model or the cache cannot do."""
        if cache is not None and documents is not None:
            raise ValueError(
                "packed documents cannot go into a cache; give each document a row, with a mask where it is shorter"
            )
        if cache is not None and mode.recording:
            raise RuntimeError(
                "a cache keeps arrays, not their gradients; call the model with a cache inside `with no_grad():`"
            )
        past = slice(0, 0) if cache is None else cache.places
        places = place(shape, positions=positions, mask=mask, documents=documents, past=past)
        length, context = end_of(places.queries), self.config.context
        if self.config.positions == "learned" and length > context:
            raise ValueError(
                f"the text has {length} tokens and the model has learned {context} positions; "
                f"shorten it, or train a model with context={length}"
            )
        return places

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw all weights anew, as GPT-2: what sublayers add is smaller the more there are, so that their sum is
        not.
        """
        small = 0.02 / math.sqrt(2 * self.config.layers)
        # fmt: off
        table = (
            # tensor                    distribution    std
            ("embedding.weight",        "normal",       0.02),
            ("positions.weight",        "normal",       0.02),
            ("*.attention.qkv.weight",  "normal",       0.02),
            ("*.attention.out.weight",  "normal",       small),
            ("*.mlp.up.weight",         "normal",       0.02),
            ("*.mlp.down.weight",       "normal",       small),
            ("head.weight",             "normal",       0.02),
            ("*norm*.weight",           "constant 1",   0.0),
            ("*.bias",                  "constant 0",   0.0),
        )
        # fmt: on
        for name, p in self.named_parameters():
            distribution, std = next((d, s) for pattern, d, s in table if fnmatch(name, pattern))
            if distribution == "normal":
                p.data[...] = to_device(rng.standard_normal(p.shape, dtype=np.float32) * np.float32(std), p.device)
            else:
                p.data[...] = float(distribution.split()[1])


class Block(Module):
    """Attention, then an MLP, each added to what came in: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: GPTConfig, dtype: Any = np.float32):
        self.post = config.norm_position == "post"
        self.norm1 = make_norm(config, dtype)
        self.attention = Attention(config, dtype)
        self.norm2 = make_norm(config, dtype)
        self.mlp = MLP(config, dtype)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, sight: Sight, keep: Callable[[Any, Any], tuple[Any, Any]] | None = None) -> Tensor:
        if self.post:
            x = self.norm1(x + self.dropout(self.attention(x, sight, keep)))
            return self.norm2(x + self.dropout(self.mlp(x)))
        x = x + self.dropout(self.attention(self.norm1(x), sight, keep))
        return x + self.dropout(self.mlp(self.norm2(x)))


def make_norm(config: GPTConfig, dtype: Any) -> Module:
    if config.norm == "rmsnorm":
        return RMSNorm(config.dim, eps=config.norm_eps, dtype=dtype)
    return LayerNorm(config.dim, eps=config.norm_eps, bias=config.bias, dtype=dtype)
