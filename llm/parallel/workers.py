"""`Workers`: what threads, processes and any other kind of workers have in common. This is data parallelism: all
workers use the same weights, each computes the gradient of some rows of the batch, and the gradients are added up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np

import minigrad
from llm.model.gpt import GPT
from llm.parallel.objective import Batch, Objective, check_rows, split_rows
from llm.parallel.shared_gradients import SharedGradients
from minigrad.backend import to_device


class WorkerBatch(NamedTuple):
    """What one worker computes of a batch."""

    rows: Batch
    micro_batches: int  # the rows are computed in this many parts, one after the other, which saves memory
    divisor: float  # the count of the whole batch, see Objective.count
    seed: tuple[int, int]  # for dropout


class Workers(ABC):
    """`count` workers that train `model` to minimise `objective`. The calling thread is worker 0."""

    kind: ClassVar[str]  # "threads", "processes": for messages

    def __init__(self, model: GPT, objective: Objective, count: int):
        self.model, self.objective, self.count = model, objective, count

    def accumulate(self, batch: Batch, *, micro_batches: int = 1, seed: tuple[int, int] = (0, 0)) -> float:
        """Add the gradient of the mean loss of a batch to the gradients of the parameters; returns that loss.

        `seed`: two numbers that decide the dropout, those of the run and of the step.
        """
        rows = check_rows(batch)
        workers = min(self.count, rows)
        micro_batches = min(micro_batches, rows // workers)  # the same number for each worker, and none without rows
        count = self.objective.count(batch)
        return self._accumulate(
            [
                # Each rank has a seed of its own. With the same one, the workers would drop the same numbers.
                WorkerBatch(part, micro_batches, count, (seed[0] + (rank << 32), seed[1]))
                for rank, part in enumerate(split_rows(batch, workers))
            ]
        )

    @abstractmethod
    def _accumulate(self, batches: Sequence[WorkerBatch]) -> float:
        """Let worker i compute `batches[i]`, at the same time; returns the sum of their losses."""

    @abstractmethod
    def map(self, f: Callable[[int, Any], Any], items: Sequence) -> list:
        """`[f(rank, item), ...]`, all at the same time; `items` has at most one item for each worker.

        `f` runs in this process, on its memory, whatever the kind of the workers.
        """

    def parallel_slices(self, work: Callable[[slice], object], size: int) -> None:
        """Divide a loop over flat arrays: call `work(slice)` for slices that together are range(size)."""
        bounds = [size * rank // self.count for rank in range(self.count + 1)]
        self.map(lambda rank, part: work(part), [slice(*ends) for ends in pairwise(bounds)])

    @abstractmethod
    def close(self) -> None:
        """End the workers. May be called twice."""


@np.errstate(all="ignore")  # infinities and NaN show in the loss; warnings of every operation would only repeat it
def compute_gradient(
    model: GPT, objective: Objective, gradients: SharedGradients, rank: int, batch: WorkerBatch
) -> float:
    """Compute `batch` as worker `rank` and add its gradient to `gradients`; returns its part of the mean loss."""
    minigrad.seed(*batch.seed)
    losses = []
    for rows in split_rows(batch.rows, batch.micro_batches):
        rows = tuple(to_device(array, model.device) for array in rows)
        loss = objective.loss_sum(model, rows) / batch.divisor
        gradients.backward(rank, loss)  # frees the graph, so micro-batches need memory one at a time
        losses.append(loss.data)
    return float(sum(losses))  # float() waits for a GPU: once for all micro-batches
