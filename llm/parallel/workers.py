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
from minigrad.backend import Array, array_module, to_device
from minigrad.random import Part, placed
from minigrad.tensor import Tensor


class WorkerBatch(NamedTuple):
    """The rows of a batch that one worker computes at a time."""

    rows: Batch
    divisor: float  # `Objective.count` of the whole batch, not of these rows: see objective.py
    seed: tuple[int, int]  # for dropout
    place: Part  # where in the whole batch these rows are, so that they get their rows of its dropout masks


class Workers(ABC):
    """`count` workers that train `model` to minimise `objective`. The calling thread is worker 0."""

    kind: ClassVar[str]  # "threads", "processes": for messages

    def __init__(self, model: GPT, objective: Objective, count: int):
        self.model, self.objective, self.count = model, objective, count
        self.metrics = MetricSums()  # what the objective has reported of the newest batch

    def __str__(self) -> str:
        return "1 thread" if self.count == 1 else f"{self.count} {self.kind}"

    def accumulate(
        self,
        batch: Batch,
        *,
        micro_batches: int = 1,
        seed: tuple[int, int] = (0, 0),
        place: Part | None = None,
        divisor: float | None = None,
    ) -> Any:
        """Add the gradient of the mean loss of a batch to the gradients of the parameters; returns that loss.

        The loss is a Python number, or on a GPU an array of shape (), which nothing has waited for yet.

        `micro_batches`: the rows are computed in this many parts, one part after the other, to save memory. All workers
        together have the rows of one part in memory, see `rows_at_once`.
        `seed`: the seed of the run and the number of the step, which together decide the dropout.
        `place`: which rows of a larger batch these are, if there is one. `divisor`: `Objective.count` of that batch.
        """
        rows = count_rows(batch)
        parts = split_rows(batch, min(micro_batches, rows))
        places = (place or Part(0, 0, rows, rows)).split([count_rows(part) for part in parts])
        divisor = self.objective.count(batch) if divisor is None else divisor
        self.metrics = MetricSums()
        return self._accumulate_all([self._divide(*part, divisor, seed) for part in zip(parts, places)])

    def _accumulate_all(self, micro_batches: Sequence[list[WorkerBatch]]) -> float:
        """Compute the micro-batches one after the other. (In a pipeline, several are under way at the same time.)"""
        return sum(map(self._accumulate, micro_batches))

    def _divide(self, part: Batch, place: Part, divisor: float, seed: tuple[int, int]) -> list[WorkerBatch]:
        """Divide a micro-batch among the workers. A worker without rows would have nothing to do."""
        shares = split_rows(part, min(self.count, count_rows(part)))
        places = place.split([count_rows(share) for share in shares])
        return [WorkerBatch(rows, divisor, seed, own) for rows, own in zip(shares, places)]

    @abstractmethod
    def _accumulate(self, batches: Sequence[WorkerBatch]) -> float:
        """Worker i computes `batches[i]`, all at the same time. Returns the sum of their losses. Adds their metrics."""

    @abstractmethod
    def map(self, f: Callable[[int, Any], Any], items: Sequence) -> list:
        """`[f(rank, item), ...]`, computed at the same time. There is at most one item for each worker.

        `f` runs in this process, also if the workers are processes. So it can read and write all arrays of this
        process.
        """

    def map_batches(self, f: Callable[[Batch], Any], batches: Sequence[Batch]) -> list:
        """`f(batch)` of each batch, in order; the workers divide the batches. To evaluate a model, not to change it."""
        shares = [batches[rank :: self.count] for rank in range(self.count)]
        results: list[Any] = [None] * len(batches)
        for rank, found in enumerate(self.map(lambda rank, share: [f(batch) for batch in share], shares)):
            results[rank :: self.count] = found
        return results

    @property
    def num_parameters(self) -> int:
        """Of the whole model. `model` may be a part of it, if others have the rest."""
        return self.model.num_parameters()

    def gather(self, value: Any) -> list:
        """The values of all processes that train this model together, with which the ranks of MPI agree on something.

        These workers are all: `[value]`.
        """
        return [value]

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
) -> tuple[Any, Metrics]:
    """What worker `rank` does: add the gradient of its rows to `gradients`.

    Returns its part of the mean loss, and the metrics of its rows.
    """
    loss, metrics = compute_loss(model, objective, batch)
    gradients.backward(rank, loss)
    return number(loss.data), metrics


def number(x: Array) -> Any:
    """`x` of shape () as a Python number; on a GPU `x` itself, because reading it would mean to wait for the GPU."""
    return float(x) if array_module(x) is np else x


def compute_loss(model: GPT, objective: Objective, batch: WorkerBatch) -> tuple[Tensor, Metrics]:
    """The part of the mean loss that these rows have, recorded; and their metrics."""
    minigrad.seed(*batch.seed)
    rows = tuple(to_device(array, model.device) for array in batch.rows)
    with placed(batch.place):
        total, metrics = loss_and_metrics(objective, model, rows)
    return total / batch.divisor, {name: (float(value), float(count)) for name, (value, count) in metrics.items()}
