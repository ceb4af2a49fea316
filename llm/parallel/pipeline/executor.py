"""A training step in a pipeline: the rank computes the actions of its schedule, and sends what the next one needs.

    forward     receive activations from the stage before, compute, send the result to the next stage
    backward    receive the gradient of that result, compute, send the gradient of the input to the stage before

The gradient of each micro-batch is that of its part of the mean loss over the whole batch: it is divided by the count
of the whole batch (objective.py), and not by the number of micro-batches. So the sum over micro-batches is the gradient
of one process. Sends do not wait, so a rank waits only for what it needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from llm.parallel.communicators.communicator import Communicator
from llm.parallel.metrics import Metrics
from llm.parallel.objective import Objective
from llm.parallel.pipeline.schedules import SCHEDULES, Action, Schedule, interleaved
from llm.parallel.pipeline.stages import HandedOver, Stage
from llm.parallel.pipeline.timeline import Span
from llm.parallel.workers import WorkerBatch, Workers, compute_loss
from minigrad.backend import Array
from minigrad.tensor import Tensor


class Pipeline(Workers):
    """The stages of a group of ranks, as a worker: all ranks accumulate the same batch together.

    `stages`: those of this rank, more than one for the interleaved schedule. `schedule`: a name in SCHEDULES, which
    says how a rank with one stage computes. `spans`: what this rank has computed in the newest step, and when.
    """

    kind = "pipeline"

    def __init__(self, stages: Sequence[Stage], objective: Objective, schedule: str = "1f1b"):
        super().__init__(stages[0], objective, 1)
        self._set_up(stages, schedule)

    def _set_up(self, stages: Sequence[Stage], schedule: str) -> None:
        self.stages, self.stage_ranks = stages, stages[0].ranks
        one_chunk: Schedule = SCHEDULES[schedule]
        self._schedule = one_chunk if len(stages) == 1 else partial(interleaved, chunks=len(stages))
        # Groups of their own. Otherwise a rank that waits for an activation could get a gradient, see schedules.py.
        self._activations, self._gradients = self.stage_ranks.split(0), self.stage_ranks.split(0)
        self.spans: list[Span] = []

    @property
    def sent(self) -> int:
        """Bytes that this rank has sent to others."""
        return self.stage_ranks.sent + self._activations.sent + self._gradients.sent

    def _accumulate_all(self, micro_batches: Sequence[list[WorkerBatch]]) -> float:
        step = _Step(self, [one for (one,) in micro_batches])
        before = [_set_aside(stage) for stage in self.stages]
        self.stage_ranks.barrier()  # so that the times of all ranks begin together
        began = time.perf_counter()
        self.spans = [
            Span(self.stage_ranks.rank, action, begin - began, end - began)
            for action, begin, end in map(step.compute, self._actions(len(micro_batches)))
        ]
        for stage, gradient in zip(self.stages, before):
            self._add_tied_gradients(stage, gradient)
        loss, metrics = self.stage_ranks.broadcast_object((step.loss, step.metrics), root=self.stage_ranks.size - 1)
        for group in (self.stage_ranks, self._activations, self._gradients):
            group.finish_sends()  # all have been received by now: this frees the arrays
        for each in metrics:
            self.metrics.add(each)
        return loss

    def _actions(self, micro_batches: int) -> list[Action]:
        return self._schedule(self.stage_ranks.rank, self.stage_ranks.size, micro_batches)

    def _add_tied_gradients(self, stage: Stage, before: Array | None) -> None:
        """Add up the gradients of the embedding in the first stage and in the last one: both get the sum."""
        embedding = stage.tied_copy
        if embedding is None or not embedding.requires_grad:
            return
        assert embedding.grad is not None, "a stage computes with its embedding"
        own, last = embedding.grad.data, self.stage_ranks.size - 1
        other = last if stage.is_first else 0
        self.stage_ranks.send(own.copy(), other)
        received = self.stage_ranks.receive(other, own.shape, own.dtype)
        first, second = (own, received) if stage.is_first else (received, own)
        np.add(first, second, out=own)  # in the same order on both ranks, for the same bits
        if before is not None:
            own += before

    def timeline(self) -> list[Span]:
        """The spans of all ranks in the newest step. All ranks must call this together."""
        return [
            span for spans in self.stage_ranks.exchange_objects([self.spans] * self.stage_ranks.size) for span in spans
        ]

    def _accumulate(self, batches: Sequence[WorkerBatch]) -> float:
        return self._accumulate_all([list(batches)])

    def map(self, f: Callable[[int, Any], Any], items: Sequence) -> list:
        return [f(rank, item) for rank, item in enumerate(items)]

    def close(self) -> None: ...


def _set_aside(stage: Stage) -> Array | None:
    """Take away the gradient that a tied embedding has already: only that of this step is to be added up."""
    embedding = stage.tied_copy
    if embedding is None or embedding.grad is None:
        return None
    before, embedding.grad = embedding.grad.data.copy(), None
    return before


class _Step:
    """One step of one rank: the micro-batches that are under way, and the loss so far."""

    def __init__(self, pipeline: Pipeline, batches: Sequence[WorkerBatch]):
        self.pipeline, self.batches = pipeline, batches
        self.loss, self.metrics = 0.0, list[Metrics]()
        # By micro-batch and chunk: what came from the stage before (None in the first), and the result of the stage.
        self.alive: dict[tuple[int, int], tuple[Tensor | None, Tensor]] = {}
        self.began = 0.0  # when the action has received what it needs

    def compute(self, action: Action) -> tuple[Action, float, float]:
        """Compute an action. Returns when it began and ended; time in which it waited for its input is before that."""
        self.began = time.perf_counter()
        kind, number, chunk = action
        stage = self.pipeline.stages[chunk]
        if kind == "forward":
            self.alive[number, chunk] = self._forward(stage, self.batches[number])
        else:
            self._backward(stage, *self.alive.pop((number, chunk)))
        return action, self.began, time.perf_counter()

    @np.errstate(all="ignore")  # infinity and NaN can be seen in the loss, without a warning from each operation
    def _forward(self, stage: Stage, batch: WorkerBatch) -> tuple[Tensor | None, Tensor]:
        given: list[Tensor] = []
        name = type(self.pipeline.objective).__name__

        def take(shape: tuple[int, ...]) -> Tensor:
            if given:  # the stage before has sent what the first call needs, and then has ended
                raise TypeError(f"{name} calls the model more than once, so it cannot be computed in stages")
            array = self._receive(self.pipeline._activations, stage.part - 1, shape, stage.dtype)
            given.append(Tensor(array, requires_grad=True))  # a leaf: its gradient goes back to the stage before
            return given[0]

        stage.take = take  # type: ignore[method-assign]
        try:
            output, metrics = compute_loss(stage, self.pipeline.objective, batch)
            if not stage.is_last:
                raise TypeError(f"{name} does not call the model, so it has no stages")
            self.loss += float(output.data)
            self.metrics.append(metrics)
        except HandedOver as handed_over:
            output = handed_over.output
            self._send(self.pipeline._activations, stage.part + 1, output.data)
        finally:
            del stage.take
        return given[0] if given else None, output

    @np.errstate(all="ignore")
    def _backward(self, stage: Stage, given: Tensor | None, output: Tensor) -> None:
        if stage.is_last:
            output.backward()
        else:
            gradient = self._receive(self.pipeline._gradients, stage.part + 1, output.shape, output.dtype)
            output.backward(gradient)
        if given is not None:
            assert given.grad is not None, "the layers of a stage depend on their input"
            self._send(self.pipeline._gradients, stage.part - 1, given.grad.data)

    def _receive(self, group: Communicator, part: int, shape: tuple[int, ...], dtype: Any) -> Array:
        array = group.receive(part % group.size, shape, dtype)
        self.began = time.perf_counter()
        return array

    def _send(self, group: Communicator, part: int, array: Array) -> None:
        group.send(array, part % group.size)
