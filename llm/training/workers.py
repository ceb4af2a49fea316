"""Threads that train together: data parallelism inside one process.

Each worker has a replica of the model: the weights are the same arrays, the gradients its own. A batch is split over the workers, and the
gradients are added up in a fixed order, so a number of threads gives the same bits every time. NumPy and BLAS let go of the interpreter
lock while they compute, so the workers run at once, with BLAS at one thread each: a whole step in parallel, where BLAS alone
would only share its matrix products.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from llm.model import GPT


class Workers:
    """`count` replicas of `model`, itself the first; build it after the optimizer, which gives the weights their place."""

    def __init__(self, model: GPT, count: int):
        self.replicas = [model, *(replicate(model) for _ in range(count - 1))]
        self.pool = ThreadPoolExecutor(max(1, count - 1), thread_name_prefix="worker")

    def __len__(self) -> int:
        return len(self.replicas)

    def map(self, f: Callable[..., Any], items: Sequence) -> list:
        """`f(rank, replica, item)` for each worker and its item, at once; the first in the calling thread."""
        others = [self.pool.submit(f, rank, replica, item) for rank, (replica, item) in enumerate(zip(self.replicas, items)) if rank]
        return [f(0, self.replicas[0], items[0]), *(other.result() for other in others)]

    def add_gradients(self) -> None:
        """Add the gradients of all replicas to those of the model, and forget them."""
        for parameter, *others in zip(*(replica.parameters() for replica in self.replicas)):
            for other in others:
                if other.grad is not None:
                    parameter.grad.data[...] += other.grad.data
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
