"""The workers of a rank. Each rank has the whole model, and computes some rows of the batch that all ranks draw alike.

    rank 0    rows 0 to 5       thread 0    rows 0 to 2
                                thread 1    rows 3 to 5
    rank 1    rows 6 to 11      ...

What differs from threads of one process: the gradients are added up by messages (reduction.py), and so are the loss,
the metrics, and all else that the ranks must agree on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from llm.model.gpt import GPT
from llm.parallel.communicators.alone import Alone
from llm.parallel.data.reduction import Reduction
from llm.parallel.metrics import MetricSums
from llm.parallel.model_part import ModelPart
from llm.parallel.objective import Batch, Objective, count_rows, split_rows
from llm.parallel.shared_gradients import SharedGradients
from llm.parallel.threads import Threads
from llm.parallel.workers import WorkerBatch
from minigrad.graph import leaf_uses
from minigrad.nn.module import Parameter
from minigrad.random import Part
from minigrad.tensor import Tensor

T = TypeVar("T")


class Ranks(Threads):
    """`count` threads of one of the ranks that `reduction` knows. `part`: of the model, if others have the rest.

    `same_rows`: so many neighbouring ranks have the same rows, and divide the tokens of a text (context parallelism).
    """

    kind = "threads"

    def __init__(
        self,
        model: GPT,
        objective: Objective,
        count: int,
        reduction: Reduction,
        part: ModelPart | None = None,
        same_rows: int = 1,
    ):
        super().__init__(model, objective, count)
        self.reduction, self.group, self.same_rows = reduction, reduction.group, same_rows
        self.reduces_often = reduction.every_micro_batch  # otherwise once, when all micro-batches are computed
        self.part, self.model_ranks = part, Alone() if part is None else part.ranks
        self._unfinished = 0  # micro-batches of the batch that are still to be computed

    def __str__(self) -> str:
        ranks = self.group.size * self.model_ranks.size
        split = f" ({self.part.mesh})" if self.part is not None and self.model_ranks.size > 1 else ""
        return f"{ranks} ranks{split} with {super().__str__()} each"

    @property
    def num_parameters(self) -> int:
        return super().num_parameters if self.part is None else self.part.num_parameters

    def accumulate(
        self,
        batch: Batch,
        *,
        micro_batches: int = 1,
        seed: tuple[int, int] = (0, 0),
        place: Part | None = None,
        divisor: float | None = None,
    ) -> float:
        """As that of all workers. `batch` is the whole batch, and the loss is that of the whole batch."""
        shares = split_rows(batch, self.group.size // self.same_rows)
        places = Part(0, 0, count_rows(batch), count_rows(batch)).split([len(share[0]) for share in shares])
        rank, divisor = self.group.rank // self.same_rows, self.objective.count(batch) if divisor is None else divisor
        # Some ranks may have a row less, and so a micro-batch less. All ranks must reduce their gradients as often.
        self._unfinished, most = (min(micro_batches, count_rows(share)) for share in (shares[rank], shares[0]))
        idle = most - self._unfinished if self.reduces_often else 0
        loss = super().accumulate(
            shares[rank], micro_batches=micro_batches, seed=seed, place=places[rank], divisor=divisor
        )
        for _ in range(idle):
            self.reduction.begin()
            self.reduction.finish()
        return self._sum_of_losses(loss)

    def _accumulate(self, batches: Sequence[WorkerBatch]) -> float:
        self._unfinished -= 1
        if self._unfinished and not self.reduces_often:
            return super()._accumulate(batches)
        self.reduction.begin()
        loss = super()._accumulate(batches)
        self.reduction.finish()
        return loss

    def _sum_of_losses(self, loss: float) -> float:
        own, self.metrics = self.metrics, MetricSums()
        losses, metrics = zip(*self._of_all_rows((loss, own)), strict=True)
        for each in metrics:
            self.metrics.merge(each)
        return self._agreed(sum(losses))

    def _shared_gradients(self, batches: Sequence[WorkerBatch]) -> SharedGradients:
        if self._unfinished and not self.reduces_often:
            return super()._shared_gradients(batches)
        return ReducedGradients(self.model.parameters(), len(batches), self.reduction)

    def map_batches(self, f: Callable[[Batch], Any], batches: Sequence[Batch]) -> list:
        size, own = self.group.size, list(batches[self.group.rank :: self.group.size])
        missing = -(-len(batches) // size) - len(own)
        computed = own + [batches[0]] * missing if self.reduction.lockstep else own  # the last of these for nothing
        found = super().map_batches(f, computed)[: len(own)]
        results: list[Any] = [None] * len(batches)
        for rank, of_rank in enumerate(self._of_all_rows(found)):
            results[rank::size] = of_rank
        return self._agreed(results)

    def gather(self, value: Any) -> list:
        values = self._of_all_rows(value)
        return [each for part in self.model_ranks.exchange_objects([values] * self.model_ranks.size) for each in part]

    def _of_all_rows(self, value: Any) -> list:
        return self.group.exchange_objects([value] * self.group.size)

    def _agreed(self, value: T) -> T:
        """What the first rank of the model has found. Whether a step is skipped, or a checkpoint saved, depends on it.

        On another kind of processor, other ranks might find other bits.
        """
        return self.model_ranks.broadcast_object(value)


class ReducedGradients(SharedGradients):
    """The gradients of the last micro-batch: the reduction is told of each that is complete."""

    def __init__(self, parameters: Iterable[Parameter], workers: int, reduction: Reduction):
        super().__init__(parameters, workers)
        self._workers, self._reduction = workers, reduction
        self._uses: dict[Any, int] = {}  # how many gradients each parameter will get from each worker

    def backward(self, rank: int, loss: Tensor) -> None:
        with self._changed:
            if not self._uses:  # the graphs of all workers are alike
                uses = leaf_uses(loss)
                # Rules run from the newest node to the oldest. So the gradient of a parameter is complete when the rule
                # of the oldest node that uses it has run.
                trained = sorted((p for p in uses if p in self._accumulators), key=lambda p: -min(uses[p]))
                self._uses = {p: len(uses[p]) for p in trained}
                self._reduction.order(trained)
        super().backward(rank, loss)

    def _added(self, parameter: Parameter, number: int) -> None:
        if number == self._uses.get(parameter, 0) * self._workers:
            self._reduction.complete(parameter)
