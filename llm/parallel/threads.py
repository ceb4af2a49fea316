"""Threads that train together: data parallelism inside one process.

A batch is split over the workers, who use one model and add up one gradient (gradients.py). NumPy and BLAS let go of
the interpreter lock while they compute, so the workers run at once, with BLAS at one thread each: a whole step in
parallel, where BLAS alone would only share its matrix products. For small models there are processes instead
(processes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import minigrad
from llm.model.gpt import GPT
from llm.parallel.shared_gradients import SharedGradients
from minigrad.backend import to_device


class Share(NamedTuple):
    """What one worker has of a batch: inputs and targets, (rows, T), to be worked through in `parts`; `tokens` is the
    size of the whole batch, `seed` is for dropout.
    """

    inputs: np.ndarray
    targets: np.ndarray
    parts: int
    tokens: int
    seed: tuple[int, int]


class Workers:
    """`count` threads, the calling one among them, that share the work on `model`."""

    kind = "threads"

    def __init__(self, model: GPT, count: int):
        self.model, self.count = model, count
        self.pool = ThreadPoolExecutor(max(1, count - 1), thread_name_prefix="worker")

    def __len__(self) -> int:
        return self.count

    def map(self, f: Callable[[int, Any], Any], items: Sequence) -> list:
        """`f(rank, item)` for each item, at most one for each worker, at once; the first in the calling thread."""
        others = [self.pool.submit(f, rank, item) for rank, item in enumerate(items) if rank]
        return [f(0, items[0]), *(other.result() for other in others)]

    def accumulate(self, shares: Sequence[Share]) -> float:
        """Add up the gradients of a batch, of which each worker has a share, at most; returns the loss."""
        gradients = SharedGradients(self.model.parameters(), len(shares))
        return sum(self.map(lambda rank, share: work_through(self.model, gradients, rank, share), shares))

    def share(self, work: Callable[[slice], object], size: int) -> None:
        """Call `work` with as many slices of range(size) as there are workers, at once: for loops over flat arrays."""
        bounds = [size * rank // self.count for rank in range(self.count + 1)]
        self.map(lambda rank, part: work(part), [slice(*ends) for ends in pairwise(bounds)])

    def close(self) -> None:
        self.pool.shutdown()


@np.errstate(all="ignore")  # infinities and NaN are the caller's to report, once
def work_through(model: GPT, gradients: SharedGradients, rank: int, share: Share) -> float:
    """Add the gradient of a share as worker `rank`; returns its part of the mean loss per token.

    A part contributes the sum over its tokens divided by the tokens of the whole batch, so however a batch is split the
    gradient is the same to rounding. (A mean of means would weigh tokens by the size of their part.)
    """
    minigrad.seed(*share.seed)
    losses = []
    for x, y in zip(*(np.array_split(rows, share.parts) for rows in (share.inputs, share.targets))):
        loss = model.loss(to_device(x, model.device), to_device(y, model.device), reduction="sum") / share.tokens
        gradients.backward(rank, loss)
        losses.append(loss.data)
    return float(sum(losses))  # here a GPU is waited for
