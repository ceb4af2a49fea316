"""The same by PyTorch, with a cache whose position is on the GPU: token by token, and as a CUDA graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.competitor import Work
from benchmarks.peers.decoding import decoder
from benchmarks.peers.pytorch import GPT, Cache, load
from benchmarks.task import Task


class FixedCache(Cache):
    """Keys and values of one text. A single new token goes to `position`, and sees all keys up to there."""

    def __init__(self, task: Task):
        super().__init__(task.config, 1, task.device)
        self.arrays.zero_()  # keys that are hidden are multiplied, too
        self.position = torch.zeros(1, dtype=torch.long, device=task.device)
        self.all = torch.arange(task.config.context, device=task.device)

    def begin(self) -> FixedCache:
        self.length = 0
        return self

    def new(self, count: int) -> Any:
        if count > 1:  # a prompt, whose tokens see those before them
            self.mask = None
            return super().new(count)
        self.mask = (self.all <= self.position)[None]  # (1, S)
        return self.position

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.mask is None:
            found = super().append(layer, k, v)
            self.position.fill_(self.length)
            return found
        for array, new in zip(self.arrays[layer], (k, v)):
            array.index_copy_(2, self.position, new)
        if layer == self.last:
            self.position += 1
        keys, values = self.arrays[layer]
        return keys, values


def with_fixed_cache(task: Task) -> Work:
    model, cache = load(task), FixedCache(task)
    return decoder(task, cache.begin, lambda ids, _: read(model, cache, torch.from_numpy(ids).to(task.device)))


def captured(task: Task) -> Work:
    """One launch for each token."""
    model, cache = load(task), FixedCache(task)
    id, graph = torch.zeros((1, 1), dtype=torch.long, device=task.device), torch.cuda.CUDAGraph()
    with torch.inference_mode():
        other = torch.cuda.Stream()
        with torch.cuda.stream(other):  # PyTorch asks for some calls before the capture
            for _ in range(3):
                logits_of(model, cache, id)
        torch.cuda.current_stream().wait_stream(other)
        with torch.cuda.graph(graph):
            logits = logits_of(model, cache, id)

    def next_logits(ids: np.ndarray, _: Any) -> np.ndarray:
        if ids.shape[1] > 1:
            return read(model, cache, torch.from_numpy(ids).to(task.device))
        id.fill_(int(ids[0, 0]))
        graph.replay()
        return logits.numpy(force=True)

    return decoder(task, cache.begin, next_logits)


def read(model: GPT, cache: FixedCache, ids: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return logits_of(model, cache, ids).numpy(force=True)


def logits_of(model: GPT, cache: FixedCache, ids: Tensor) -> Tensor:
    """Of the token after `ids` (1, T): (1, V)."""
    return model.logits(model(ids, cache)[:, -1])
