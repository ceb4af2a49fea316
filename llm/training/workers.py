"""Threads that train together: data parallelism inside one process.

A batch is split over the workers, who use one model and add up one gradient (gradients.py). NumPy and BLAS let go of the interpreter lock
while they compute, so the workers run at once, with BLAS at one thread each: a whole step in parallel, where BLAS alone would only
share its matrix products.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

from llm.model import GPT


class Workers:
    """`count` threads, the calling one among them, that share the work on `model`."""

    def __init__(self, model: GPT, count: int):
        self.model, self.count = model, count
        self.pool = ThreadPoolExecutor(max(1, count - 1), thread_name_prefix="worker")

    def __len__(self) -> int:
        return self.count

    def map(self, f: Callable[[int, Any], Any], items: Sequence) -> list:
        """`f(rank, item)` for each item, at most one for each worker, at once; the first in the calling thread."""
        others = [self.pool.submit(f, rank, item) for rank, item in enumerate(items) if rank]
        return [f(0, items[0]), *(other.result() for other in others)]

    def share(self, work: Callable[[slice], object], size: int) -> None:
        """Call `work` with as many slices of range(size) as there are workers, at once: for loops over flat arrays."""
        bounds = [size * rank // self.count for rank in range(self.count + 1)]
        self.map(lambda rank, part: work(part), [slice(*ends) for ends in pairwise(bounds)])

    def close(self) -> None:
        self.pool.shutdown()
