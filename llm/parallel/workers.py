"""`Workers`: what threads and processes have in common.

This is data parallelism: all workers have the same weights, each computes the gradient of some rows of the batch, and
the gradients are added up. Workers are numbered. The number is called rank, as in MPI and torch.distributed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np

import minigrad
from llm.model.gpt import GPT
from llm.parallel.metrics import Metrics, MetricSums
from llm.parallel.objective import Batch, Objective, count_rows, loss_and_metrics, split_rows
from llm.parallel.shared_gradients import SharedGradients
from minigrad.backend import to_device


class WorkerBatch(NamedTuple):
    """The rows of a batch that one worker computes at a time."""

    rows: Batch
    divisor: float  # `Objective.count` of the whole batch, not of these rows: see objective.py
    seed: tuple[int, int]  # for dropout


class Workers(ABC):
    """`count` workers that train `model` to minimise `objective`. The calling thread is worker 0."""

    kind: ClassVar[str]  # "threads", "processes": for messages

    def __init__(self, model: GPT, objective: Objective, count: int):
        self.model, self.objective, self.count = model, objective, count
        self.metrics = MetricSums()  # what the objective has reported of the newest batch

    def accumulate(self, batch: Batch, *, micro_batches: int = 1, seed: tuple[int, int] = (0, 0)) -> float:
        """Add the gradient of the mean loss of a batch to the gradients of the parameters; returns that loss.

        `micro_batches`: the rows are computed in this many parts, one part after the other, to save memory. All workers
        together have the rows of one part in memory, see `rows_at_once`.
        `seed`: the seed of the run and the number of the step, which together decide the dropout.
        """
        parts = split_rows(batch, min(micro_batches, count_rows(batch)))
        divisor = self.objective.count(batch)
        self.metrics = MetricSums()
        return sum(self._accumulate(self._divide(part, number, divisor, seed)) for number, part in enumerate(parts))

    def _divide(self, part: Batch, number: int, divisor: float, seed: tuple[int, int]) -> list[WorkerBatch]:
        """Divide micro-batch `number` among the workers. A worker without rows would have nothing to do."""
        shares = split_rows(part, min(self.count, count_rows(part)))
        # Each worker has a seed of its own in each micro-batch. With the same seed, all would drop the same elements.
        seeds = [(seed[0] + (number * self.count + rank << 32), seed[1]) for rank in range(len(shares))]
        return [WorkerBatch(rows, divisor, own_seed) for rows, own_seed in zip(shares, seeds)]

    @abstractmethod
    def _accumulate(self, batches: Sequence[WorkerBatch]) -> float:
        """Worker i computes `batches[i]`, all at the same time. Returns the sum of their losses. Adds their metrics."""

    @abstractmethod
    def map(self, f: Callable[[int, Any], Any], items: Sequence) -> list:
        """`[f(rank, item), ...]`, computed at the same time. There is at most one item for each worker.

        `f` runs in this process, also if the workers are processes. So it can read and write all arrays of this
        process.
        """

    def parallel_slices(self, work: Callable[[slice], object], size: int) -> None:
        """Divide a loop over `size` elements: call `work(slice)` at the same time for slices that make up the whole."""
        bounds = [size * rank // self.count for rank in range(self.count + 1)]
        self.map(lambda rank, part: work(part), [slice(*ends) for ends in pairwise(bounds)])

    @abstractmethod
    def close(self) -> None:
        """End the workers. It does no harm to call this twice."""


@np.errstate(all="ignore")  # infinity and NaN can be seen in the loss, without a warning from each operation
def compute_gradient(
    model: GPT, objective: Objective, gradients: SharedGradients, rank: int, batch: WorkerBatch
) -> tuple[float, Metrics]:
    """What worker `rank` does: add the gradient of its rows to `gradients`.

    Returns its part of the mean loss, and the metrics of its rows.
    """
    minigrad.seed(*batch.seed)
    rows = tuple(to_device(array, model.device) for array in batch.rows)
    total, metrics = loss_and_metrics(objective, model, rows)
    loss = total / batch.divisor
    gradients.backward(rank, loss)
    return float(loss.data), {name: (float(total), float(count)) for name, (total, count) in metrics.items()}
