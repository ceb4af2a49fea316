"""One text is continued by CUDA graphs: reading a token is one launch (minigrad/cuda/graph.py).

    pool = one_text_pool(model)
    model.hidden(prompt, cache=pool.rows([0]))      # a prompt (1, T) is read as always
    decoder = CapturedDecoder(model, pool)
    logits = decoder.read(id)                       # (V,), on the GPU: of the token after `id`
    ids = decoder.write(id, 8)                      # or: the likeliest token after `id`, the likeliest after that ...

For one token, GPT-2 (124M) starts 269 operations, and each takes the host 10 to 20 microseconds to start. A graph has
their addresses and numbers as they were when it was recorded, so what changes from token to token is in arrays on the
GPU: the id and its position. The position decides where keys and values are written, which row of the tables is read,
and which keys are visible. Of the cache, a graph reads the first `room` tokens, and hides those that the text has not
reached yet. There is a graph for each power of two, so a short text does not pay for the whole context.
"""

from __future__ import annotations

import warnings
from functools import cache, partial
from typing import Any

import numpy as np

from llm.model.adapters.virtual import VirtualTokens
from llm.model.cache_pool import CachePool
from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from llm.model.positions import OnDevice, TokenPositions
from minigrad import no_grad
from minigrad.backend import Array, array_module
from minigrad.cuda import cublaslt
from minigrad.cuda.graph import Graph, capture
from minigrad.tensor import array_of

LEAST_ROOM = 64  # tokens of the first graph: to read so few is little beside the weights


def obstacle(model: GPT) -> str:
    """Why the steps of a model cannot be captured, in some words; "" if they can be."""
    config, scaling = model.config, model.config.rope_scaling
    moving = scaling is not None and scaling.effective_length(1) != scaling.effective_length(model.context)
    reasons = {
        "the model is not on a GPU": model.device == "cpu",
        "experts cannot be captured": config.experts is not None,  # Python needs to know how many tokens each gets
        "ALiBi cannot be captured": config.positions == "alibi",  # its distances come from the host
        "rotary angles that depend on the length of the text cannot be captured": moving,
        "learned tokens of an adapter are not captured": isinstance(model, VirtualTokens),
        "half types are not captured": model.dtype.itemsize < 4,  # attention would widen the whole cache for a token
        "there is no cublasLt, whose products can be captured": not cublaslt.is_available(),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


@cache
def warn_once(reason: str) -> None:
    warnings.warn(f"tokens are read without a CUDA graph: {reason}", RuntimeWarning, stacklevel=4)


def one_text_pool(model: GPT) -> CachePool:
    """A cache for one text that never moves in it, not even in layers with a window."""
    return CachePool(model.config, slots=1, capacity=model.context, chunk=model.context)


class CapturedDecoder:
    """Continues the text in slot 0 of a pool. The model stays where it is, and has no `obstacle`."""

    def __init__(self, model: GPT, pool: CachePool):
        self.model, self.pool = model, pool
        xp = array_module(model.embedding.weight.data)
        self.id = xp.zeros((1, 1), np.int64)  # the token that a graph reads
        self.position = xp.zeros(1, np.int64)  # its position in the text; a graph adds 1
        self.written = xp.zeros(pool.capacity + 1, np.int64)  # by `write`: the token at each position of the text
        self.next: int | None = None  # what is in `position`, if the host knows it
        self.graphs: dict[tuple[int, bool], Graph[Array]] = {}  # by room, and whether they choose a token
        self.kept: list[Any] = []  # arrays that graphs read: nobody may free them

    def read(self, id: int) -> Array:
        """Add a token to the text: the logits (V,) of the one after it, on the GPU, until the next call.

        Raises ValueError if the cache is full.
        """
        self.id.fill(id)
        return self._launch(choose=False)[0]

    def write(self, id: int, count: int) -> list[int]:
        """Add a token to the text, and after it `count` - 1 of those `count` that are returned.

        Each is the likeliest one, or -1 where logits are not finite. The host waits once.
        """
        begin = self.pool.lengths[0] + 1
        self.id.fill(id)
        for _ in range(count):
            self._launch(choose=True)
        return self.written[begin : begin + count].tolist()

    def _launch(self, *, choose: bool) -> Array:
        """Read the token in `id`: the logits (1, V)."""
        length, capacity = self.pool.lengths[0], self.pool.capacity
        if length >= capacity:
            raise ValueError(f"the cache has room for {capacity} tokens, and all of it is taken")
        if length != self.next:  # a prompt has been read, or the text was shortened
            self.position.fill(length)
        self.next = None  # after an error, nobody knows
        room = min(capacity, max(LEAST_ROOM, 1 << length.bit_length()))  # a power of two above `length`
        if (room, choose) in self.graphs:
            graph = self.graphs[room, choose]
            graph.launch()
            logits = graph.result
        else:
            logits = self._capture(room, choose=choose)
        self.next = self.pool.lengths[0] = length + 1
        return logits

    def _capture(self, room: int, *, choose: bool) -> Array:
        """Read the token, and record how."""
        with no_grad(), no_dropout(self.model):
            graph, logits = capture(partial(self._step, room, choose=choose))
        self.graphs[room, choose] = graph
        # A table of positions is replaced when a longer text comes, and weights when a model is moved.
        tables = [self.model._sinusoid_table, *filter(None, self.model._rotary_tables.values())]
        self.kept += [table.computed for table in tables] + [p.data for p in self.model.parameters()]
        return logits

    def _step(self, room: int, *, choose: bool) -> Array:
        """What is recorded: reads the token in `id`; with `choose`, puts the likeliest one in its place."""
        on_device: Any = CacheOnDevice(self.pool, self.position, room)
        x = self.model.hidden(self.id, cache=on_device)  # (1, 1, C)
        logits = self.model.logits(x[:, -1]).data  # (1, V)
        if choose:
            best = np.where(np.isfinite(logits.max(axis=-1)), logits.argmax(axis=-1), -1)  # (1,)
            self.id[0] = best
            self.written[self.position] = best  # the position is already that of the next token
        return logits


class CacheOnDevice:
    """What a recorded call of the model gets as its cache: slot 0 of a pool, up to a position that only the GPU knows.

    `position` (1,): of the new token. `room`: how many tokens of the cache are read, S; later ones are hidden.
    """

    def __init__(self, pool: CachePool, position: Array, room: int):
        self.pool, self.position, self.room = pool, position, room
        self.positions = TokenPositions(OnDevice(position[None], pool.capacity), slice(0, room))

    def append(self, layer: int, k: Any, v: Any) -> tuple[Array, Array]:
        """Write the keys and values (1, K, 1, D) of the new token; returns those of the first S, (1, K, S, D)."""
        layer_cache = self.pool.layers[layer]
        layer_cache.allocate(array_of(k))
        for array, new in zip(layer_cache.arrays, (k, v), strict=True):
            array[:, :, self.position] = array_of(new)
        keys, values = (array[:, :, : self.room] for array in layer_cache.arrays)
        return keys, values

    def advance(self, positions: Any) -> None:
        self.position += 1
