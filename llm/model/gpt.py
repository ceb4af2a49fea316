"""GPT: a transformer decoder that predicts the next token.

Papers: Radford et al. 2018 (GPT), 2019 (GPT-2); Brown et al. 2020 (GPT-3, arXiv 2005.14165).

A `GPTConfig` chooses, in any combination:

    positions       learned | sinusoidal | RoPE | ALiBi | none
    normalisation   LayerNorm | RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467), before or after each sublayer
    attention       multi-head | grouped-query | multi-query; any head size; QK-norm; sliding window (arXiv 2310.06825)
    MLP             GELU, exact or tanh | ReLU squared | SwiGLU | GEGLU ...; mixtures of experts (arXiv 1701.06538)
    head            tied to the embedding (Press and Wolf 2017, arXiv 1608.05859) or not; soft cap (arXiv 2408.00118)
    biases          with or without. Dropout: on embeddings, attention weights and outputs of sublayers, as in GPT-2

Every model accepts padded batches and packed documents, and can decode with a key-value cache (kv_cache.py). The loss
never holds the logits of all tokens in memory at once. Sizes (B, T, C ...) are explained in config.py.

The layers are in block.py, attention.py, mlp.py and experts.py. textbook.py has the commonest choices on one page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import numpy as np

from llm.model.block import Block, make_norm, recomputed
from llm.model.cache_pool import Cache
from llm.model.config import GPTConfig
from llm.model.experts import Routing, balance
from llm.model.initial import initial_values
from llm.model.layer_kinds import layer_kind, rotary_table
from llm.model.masks import LayerSettings, layer_settings
from llm.model.positions import PositionTable, TokenPositions, sinusoids, table_index, table_length, token_positions
from minigrad.backend import Array, device_of, to_device
from minigrad.fused.linear import linear
from minigrad.fused.linear_cross_entropy import linear_cross_entropy
from minigrad.modes import mode
from minigrad.nn import Dropout, Embedding, Linear, Module, ModuleList
from minigrad.tensor import Tensor, as_tensor


class GPT(Module):
    """Token ids (B, T) in, logits of the next token (B, T, V) out.

    `rng`: a seed or a generator for the initial weights. The same seed gives the same weights in every dtype. With None
    the weight matrices are zero: use it when `load_state_dict` is called next.
    """

    # True saves memory in training (activation checkpointing): the forward pass stores only the input of each block,
    # and the backward pass computes the block again. (Checkpoints in files are another thing: llm/runs/checkpoints.py.)
    recompute = False
    family = path = ""  # where the weights were read from (llm/hub): a family of transformers, and a file or folder

    def __init__(self, config: GPTConfig, rng: np.random.Generator | int | None = 0, dtype: Any = np.float32):
        self.config, self.context = config, config.context  # learned tokens of an adapter take some of it (adapters/)
        # Layers are made with init=False: they draw no weights themselves, because `initialize` draws them all.
        self._make_embeddings(dtype)
        self.dropout = Dropout(config.dropout)
        self.blocks = ModuleList((self._make_block(n, dtype) for n in self.layers), first=self.layers.start)
        self._make_head(dtype)
        # Numbers that depend only on the position. They are computed when a text needs them, and are not trained. A
        # table is a tuple of arrays: one array of sinusoids, or the cosines and the sines of rotary positions.
        self._sinusoid_table = PositionTable(
            lambda positions, dtype, length: (sinusoids(positions, config.dim, dtype),)
        )
        self._kinds = [layer_kind(config, layer) for layer in self.layers]
        self._rotary_tables = {kind: rotary_table(config, kind) for kind in self._kinds}
        if rng is not None:
            self.initialize(np.random.default_rng(rng))

    # The parts, and what `hidden` begins and ends with. A model that is divided among ranks overrides these methods
    # (llm/parallel).

    @property
    def layers(self) -> range:
        """The numbers of the layers that this model has."""
        return range(self.config.layers)

    def _make_embeddings(self, dtype: Any) -> None:
        self.embedding = Embedding(self.config.vocab_size, self.config.dim, dtype=dtype, init=False)
        if self.config.positions == "learned":
            self.positions = Embedding(self.config.context, self.config.dim, dtype=dtype, init=False)
        if self.config.embedding_norm:
            self.embedding_norm = make_norm(self.config, dtype)

    def _make_block(self, layer: int, dtype: Any) -> Block:
        return Block(self.config, layer, dtype)

    def _make_head(self, dtype: Any) -> None:
        if self.config.norm_position != "post":
            self.norm = make_norm(self.config, dtype)  # "post" needs none here: its blocks end with a norm
        if not self.config.tied_head:
            V, C = self.config.vocab_size, self.config.dim
            self.head = Linear(C, V, bias=self.config.head_bias, dtype=dtype, init=False)

    def _begin(self, ids: Array, all_positions: TokenPositions, routing: list[Routing] | None) -> Tensor:
        return self.dropout(self._embed(ids, all_positions))  # (B, T, C)

    def _end(self, x: Tensor, routing: list[Routing] | None) -> Tensor:
        return x if self.config.norm_position == "post" else self.norm(x)  # (B, T, C)

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw all weights anew, with the distributions of GPT-2 (initial.py)."""
        for name, p in self.named_parameters():
            p.data[...] = to_device(initial_values(name, p.shape, self.config.layers, rng), p.device)

    # --- what it computes -----------------------------------------------------------------------------------------

    def forward(
        self, ids: Any, *, positions: Any = None, mask: Any = None, documents: Any = None, cache: Cache | None = None
    ) -> Tensor:
        """Logits (B, T, V) for integer `ids` (B, T). Row t of the logits predicts token t + 1.

        `mask`: True at real tokens, False at padding, which may stand anywhere in a row.
        `documents`: for packed documents, integers. Neighbouring tokens with the same number form one document. A token
        attends only to tokens of its own document.
        `positions`: integers to use as the positions of the tokens. Default: 0, 1, 2 ... in each document, padding left
        out. Everything that depends on positions uses them: learned, sinusoidal, RoPE, ALiBi and `window`.

        These three have shape (B, T), or (T,) if they are the same for all rows.

        `cache`: `ids` continue the text in the cache and are added to it. Needs `no_grad()`.
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
        reduction: Literal["mean", "sum", "none"] = "mean",
        with_balance: bool = True,
    ) -> Tensor:
        """Cross-entropy in nats. `ids` and `targets` are (B, T): targets[b, t] is the id that follows ids[b, t].

        `positions`, `mask` and `documents` are those of `forward`. Padding, and targets equal to `ignore_index`, do not
        count. `reduction`: the mean over the targets that count, their sum, or "none" for each loss, (B, T).
        `label_smoothing` and `z_loss`: see `minigrad.fused.cross_entropy`. `with_balance`: add the balancing
        loss of experts (experts.py), times its coefficient: once to a mean, for each target to a sum, never to "none".
        """
        routing: list[Routing] | None = [] if self.config.balance_loss and with_balance else None
        x = self.hidden(ids, positions=positions, mask=mask, documents=documents, routing=routing)  # (B, T, C)
        targets = to_device(as_tensor(targets).data, x.device)
        if mask is not None:
            mask = to_device(as_tensor(mask).data, x.device)  # (B, T) or (T,)
            targets = np.where(mask, targets, ignore_index)
        options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing, "z_loss": z_loss}
        loss = self._head_loss(x, targets, reduction=reduction, **options)
        if not routing or reduction == "none":
            return loss
        real = None if mask is None else np.broadcast_to(mask, targets.shape).reshape(-1)  # (B * T,)
        times = int((targets != ignore_index).sum()) if reduction == "sum" else 1
        return loss + balance(routing, real, by_layer=self.config.balance_by_layer) * (self.config.balance_loss * times)

    def hidden(
        self,
        ids: Any,
        *,
        positions: Any = None,
        mask: Any = None,
        documents: Any = None,
        cache: Cache | None = None,
        routing: list[Routing] | None = None,
    ) -> Tensor:
        """The vectors (B, T, C) that the head turns into logits. The arguments are those of `forward`.

        `routing`: a list to which each layer with experts adds what its router decided.
        """
        ids = self._check_ids(ids)  # (B, T)
        all_positions = self._all_positions(ids.shape, positions, mask, documents, cache)
        x = self._begin(ids, all_positions, routing)  # (B, T, C)
        settings = {  # masks and tables get the dtype and device of x
            kind: layer_settings(self.config, kind, all_positions, table, x.data, routing)
            for kind, table in self._rotary_tables.items()
        }
        x = self._apply_blocks(x, [settings[kind] for kind in self._kinds], cache)  # (B, T, C)
        if cache is not None:
            cache.advance(all_positions.keys)  # of all tokens that the cache holds now, old and new
        return self._end(x, routing)

    def logits(self, x: Tensor) -> Tensor:
        """The head: x (..., C), as `hidden` returns it, to logits (..., V)."""
        logits, cap = self._head_product(x), self.config.soft_cap
        return logits if cap is None else cap * (logits / cap).tanh()

    def _head_product(self, x: Tensor) -> Tensor:
        return linear(x, self.head_weight, self.head_bias)

    def _head_loss(self, x: Tensor, targets: Array, **options: Any) -> Tensor:
        # Head and loss are one function. It computes the logits, the largest array of all, only a few rows at a time.
        cap = self.config.soft_cap
        return linear_cross_entropy(x, self.head_weight, targets, self.head_bias, soft_cap=cap, **options)

    @property
    def head_weight(self) -> Tensor:
        """(V, C). If the head is tied, this is the embedding: the logit of token v is x @ (the embedding of v)."""
        return self.embedding.weight if self.config.tied_head else self.head.weight

    @property
    def head_bias(self) -> Tensor | None:
        """(V,), or None if the head has no bias."""
        return None if self.config.tied_head else self.head.bias

    @property
    def device(self) -> str:
        return self.embedding.weight.device

    @property
    def dtype(self) -> np.dtype:
        return self.embedding.weight.dtype

    # --- the steps of `hidden` ------------------------------------------------------------------------------------

    def _check_ids(self, ids: Any) -> Array:
        ids = as_tensor(ids).data
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise ValueError(
                f"ids must be integers of shape (batch, tokens), got {ids.dtype} of shape {ids.shape}; "
                f"a single text needs a batch axis: ids[None]"
            )
        return ids

    def _all_positions(
        self, shape: tuple[int, int], positions: Any, mask: Any, documents: Any, cache: Cache | None
    ) -> TokenPositions:
        """The positions of all tokens, new and cached. Raises an error if the call is not possible."""
        if cache is not None and documents is not None:
            raise ValueError(
                "packed documents cannot go into a cache; give each document its own row, padded with a mask"
            )
        if isinstance(cache, Cache) and mode.recording:
            raise RuntimeError(
                "a cache keeps arrays, not their gradients; call the model with a cache inside `with no_grad():`"
            )
        cached = slice(0, 0) if cache is None else cache.positions
        all_positions = token_positions(shape, positions=positions, mask=mask, documents=documents, cached=cached)
        length, context = table_length(all_positions.queries), self.config.context
        if self.config.positions == "learned" and length > context:
            raise ValueError(
                f"the text has {length} tokens and the model has learned {context} positions; "
                f"shorten it, or train a model with context={length}"
            )
        return all_positions

    def _embed(self, ids: Array, all_positions: TokenPositions) -> Tensor:
        """Token embeddings, with the position added if positions are learned or sinusoidal: (B, T) -> (B, T, C)."""
        x = self.embedding(ids)  # (B, T, C)
        if self.config.embedding_scale != 1:
            x = x * self.config.embedding_scale
        if self.config.positions == "learned":
            x = x + self.positions.weight[table_index(all_positions.queries, self.device)]
        elif self.config.positions == "sinusoidal":
            # As in the first Transformer: sinusoids reach 1, so the much smaller embeddings are scaled up.
            (waves,) = self._sinusoid_table(all_positions.queries, x.data)
            x = x * math.sqrt(self.config.dim) + Tensor(waves)
        return self.embedding_norm(x) if self.config.embedding_norm else x

    def _apply_blocks(self, x: Tensor, settings: list[LayerSettings], cache: Cache | None) -> Tensor:
        """(B, T, C) -> (B, T, C). `settings`: those of each layer."""
        if self._can_decode(x.data, settings):
            return Tensor(self._decode_blocks(x.data[:, 0], settings, cache)[:, None])  # (B, 1, C)
        apply = recomputed if self.recompute else Block.__call__
        for block, *inputs in self._blocks_with_inputs(settings, cache):
            x = apply(block, x, *inputs)
        return x

    def _can_decode(self, x: Array, settings: list[LayerSettings]) -> bool:
        """Whether `decode` of the blocks may take the place of `forward` for x (B, T, C)."""
        return (
            x.shape[1] == 1  # one new token in each row
            and self.blocks[0].can_decode  # the model makes none of the choices that `decode` does not know
            and settings[0].mask is None  # no padding
            and not self.training  # no dropout
            and not mode.recording  # no gradients
            and mode.op_hook is None  # no profiler or other tool that observes every operation
            and x.dtype.itemsize >= 4  # not float16, for which `forward` computes in float32
            and device_of(x) == "cpu"
        )

    def _decode_blocks(self, x: Array, settings: list[LayerSettings], cache: Cache | None) -> Array:
        """`forward` of all blocks for one new token in each row, on plain arrays: (B, C) -> (B, C)."""
        # For one token there is so little arithmetic that Tensors and checks would take most of the time. So each part
        # of a block has a second method, `decode`, for this case. A test says that it returns the same as `forward`.
        for block, *inputs in self._blocks_with_inputs(settings, cache):
            x = block.decode(x, *inputs)
        return x

    def _blocks_with_inputs(self, settings: list[LayerSettings], cache: Cache | None) -> Iterator[tuple[Any, ...]]:
        """Each block, its settings, and the function that appends to its layer of the cache (None: no cache)."""
        for layer, block, own_settings in zip(self.layers, self.blocks, settings):
            yield block, own_settings, None if cache is None else partial(cache.append, layer)
