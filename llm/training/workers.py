"""Threads that train together: data parallelism inside one process.

Each worker has a replica of the model: the weights are the same arrays, the gradients its own. A batch is split over the workers, and the
gradients are added up in a fixed order, so a number of threads gives the same bits every time. NumPy and BLAS let go of the interpreter
lock while they compute, so the workers run at once, with BLAS at one thread each: a whole step in parallel, where BLAS alone
would only share its matrix products.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from llm.model import GPT
from minigrad.profiler import span


class Workers:
    """`count` replicas of `model`, itself the first; build it after the optimizer, which gives the weights their place."""

    def __init__(self, model: GPT, count: int):
        self.replicas = [model, *(replicate(model) for _ in range(count - 1))]
        self.parameters = list(zip(*(replica.parameters() for replica in self.replicas)))      # each with its replicas
        self.pool = ThreadPoolExecutor(max(1, count - 1), thread_name_prefix="worker")

    def __len__(self) -> int:
        return len(self.replicas)

    def map(self, f: Callable[..., Any], items: Sequence) -> list:
        """`f(rank, replica, item)` for each worker and its item, at once; the first in the calling thread."""
        others = [self.pool.submit(f, rank, replica, item) for rank, (replica, item) in enumerate(zip(self.replicas, items)) if rank]
        return [f(0, self.replicas[0], items[0]), *(other.result() for other in others)]

    def share(self, work: Callable[[slice], object], size: int) -> None:
        """Call `work` with as many slices of range(size) as there are workers, at once: for loops over flat arrays."""
        bounds = [size * rank // len(self) for rank in range(len(self) + 1)]
        self.map(lambda rank, replica, part: work(part), [slice(*ends) for ends in pairwise(bounds)])

    def add_gradients(self) -> None:
        """Add the gradients of all replicas to those of the model, and forget them."""
        sums = [[p.grad.data.reshape(-1) for p in tied if p.grad is not None] for tied in self.parameters]

        @span("add_gradients")
        @np.errstate(all="ignore")
        def add(rank: int, replica: GPT, count: int) -> None:
            for total, *others in filter(None, sums):
                part = slice(total.size * rank // count, total.size * (rank + 1) // count)
                for other in others:
                    total[part] += other[part]
        self.map(add, [len(self)] * len(self))
        for _, *others in self.parameters:
            for other in others:
                other.grad = None

    def close(self) -> None:
        self.pool.shutdown()


def replicate(model: GPT) -> GPT:
    """A model with the same weights, in the same memory, and room for gradients of its own."""
    replica = GPT(model.config, rng=None, dtype=model.dtype)
    replica.recompute = model.recompute
    for mine, theirs in zip(replica.parameters(), model.parameters()):
        mine.data = theirs.data
        mine.grad_buffer = np.empty_like(theirs.data)
    return replica
