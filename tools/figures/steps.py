"""One step of training of each kind, recorded: small models in float32, on ranks that are threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.context.gpt import ContextGPT
from llm.parallel.context.ring import Ring
from llm.parallel.data.ranks import Ranks
from llm.parallel.data.reduction import Reduction
from llm.parallel.pipeline.executor import Pipeline
from llm.parallel.pipeline.schedules import Action
from llm.parallel.pipeline.stages import Stage
from llm.parallel.shards import split_evenly
from llm.parallel.tensor.gpt import SplitGPT
from llm.parallel.threads import Threads
from llm.parallel.zero.kinds import sharded
from llm.training.objectives import NextToken
from llm.training.step import train_step
from minigrad.optim import AdamW
from tools.figures.recording import Event, Log, Recorded, mark

ROWS, CONTEXT = 4, 6
CONFIG = GPTConfig(vocab_size=32, context=CONTEXT, layers=2, heads=4, dim=16, positions="rope")
ONE_LAYER = replace(CONFIG, layers=1)
MIXTURE = replace(ONE_LAYER, experts=4, experts_per_token=2, mlp_dim=16)
THREE_LAYERS = replace(CONFIG, layers=3)
BUCKET = 3780  # numbers: so that the second layer and the last norm are a bucket, all before them another
STAGES = 3


@dataclass(frozen=True)
class Step:
    """A recorded step. `has`: lines for each rank on what it holds. `actions`: of a pipeline, in their order."""

    config: GPTConfig
    events: Sequence[Sequence[Event]]
    has: Sequence[Sequence[str]]
    actions: Sequence[Sequence[Action]] = ()
    micro_batches: int = 1

    @property
    def ranks(self) -> int:
        return len(self.events)

    @property
    def sent(self) -> list[int]:
        """Bytes that each rank sends."""
        return [sum(event.sent for event in events) for events in self.events]


def batch(config: GPTConfig) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(1).integers(0, config.vocab_size, (ROWS, CONTEXT + 1))
    return ids[:, :-1], ids[:, 1:]


def data_step(zero: int, config: GPTConfig = CONFIG, *, size: int = 2, micro_batches: int = 2) -> Step:
    """Data parallelism with this stage of ZeRO, and the update."""

    def run(ranks: Recorded, log: Log) -> tuple[list[str], list[Action]]:
        model = GPT(config)
        mark(model, log, sublayers=False)
        make = lambda kind: kind(AdamW)(model.named_trainable(), lr=0.01)
        optimizer, reduction = sharded(zero, model, make, ranks, BUCKET)
        step, log.events = _noting_update(optimizer, log), []  # ZeRO 3 has sent something to begin with
        workers = Ranks(model, NextToken(), 1, reduction)
        train_step(workers, step, batch(config), lr=0.01, clip=0, micro_batches=micro_batches)
        workers.close()
        return [_rows(ranks)], []

    return _recorded(config, size, run, micro_batches)


def _noting_update(optimizer: AdamW, log: Log) -> Any:
    update = optimizer.step

    def step(*arguments: Any, **options: Any) -> None:
        log.phase = "update"
        log.compute("AdamW")
        # What is sent is sent after the update, in the same call.
        update(*arguments, **options)

    setattr(optimizer, "step", step)  # noqa: B010  mypy knows that it is a method
    return optimizer


def tensor_step(config: GPTConfig = ONE_LAYER, *, size: int = 2, sequence: bool = False) -> Step:
    """Forward and backward pass of layers that are split over ranks."""

    def run(ranks: Recorded, log: Log) -> tuple[list[str], list[Action]]:
        model = SplitGPT(config, ranks, sequence=sequence)
        mark(model, log)
        _accumulate(model)
        return [f"all rows, {_parameters(model)} weights"], []

    return _recorded(config, size, run)


def context_step(config: GPTConfig = ONE_LAYER, *, size: int = 3) -> Step:
    """Forward and backward pass of texts whose tokens are divided among ranks; then the sum of the gradients."""

    def run(ranks: Recorded, log: Log) -> tuple[list[str], list[Action]]:
        model = NotedContextGPT(config, ranks, log)
        mark(model, log)
        optimizer = AdamW(model.named_trainable(), lr=0.01)
        optimizer.zero_grad()
        _accumulate(model)
        reduction = Reduction([group.flat for group in optimizer.groups], ranks)
        reduction.begin()
        reduction.finish()
        tokens = split_evenly(CONTEXT, ranks.rank, ranks.size)
        return ["tokens " + ", ".join(map(str, tokens))], []

    return _recorded(config, size, run)


@dataclass(frozen=True)
class NotedRing(Ring):
    """Notes which keys the queries of this rank meet."""

    log: Log

    def chunks(self, *arrays: np.ndarray) -> Iterator[tuple[int, list[np.ndarray]]]:
        for owner, held in super().chunks(*arrays):
            keys = ", ".join(map(str, self.tokens[owner]))
            self.log.compute(f"keys {keys}" if owner <= self.ranks.rank else f"(keys {keys})")
            yield owner, held


class NotedContextGPT(ContextGPT):
    def __init__(self, config: GPTConfig, ranks: Recorded, log: Log):
        self._log = log
        super().__init__(config, ranks)

    @property  # type: ignore[override]  # `hidden` makes a ring for each text
    def ring(self) -> Ring:
        return self._ring

    @ring.setter
    def ring(self, ring: Ring) -> None:
        self._ring = NotedRing(ring.ranks, ring.tokens, self._log)


def pipeline_step(
    schedule: str = "1f1b", config: GPTConfig = THREE_LAYERS, *, size: int = STAGES, micro_batches: int = ROWS
) -> Step:
    """Forward and backward passes of the micro-batches through the stages."""

    def run(ranks: Recorded, log: Log) -> tuple[list[str], list[Action]]:
        stage = Stage(config, ranks)
        mark(stage, log, sublayers=False)
        pipeline = Pipeline([stage], NextToken(), schedule)
        pipeline.accumulate(batch(config), micro_batches=micro_batches)
        return [f"layer {ranks.rank}"], [span.action for span in pipeline.spans]

    return _recorded(config, size, run, micro_batches)


def _accumulate(model: GPT) -> None:
    workers = Threads(model, NextToken(), 1)
    workers.accumulate(batch(model.config))
    workers.close()


def _rows(ranks: Recorded) -> str:
    return "rows " + ", ".join(map(str, split_evenly(ROWS, ranks.rank, ranks.size)))


def _parameters(model: GPT) -> str:
    return f"{sum(p.size for p in model.parameters()):,}"


def _recorded(
    config: GPTConfig, size: int, run: Callable[[Recorded, Log], tuple[list[str], list[Action]]], micro_batches: int = 1
) -> Step:
    def rank(inner: Any) -> tuple[list[Event], list[str], list[Action]]:
        log = Log()
        has, actions = run(Recorded(inner, log), log)
        return log.events, has, actions

    events, has, actions = zip(*run_ranks(size, rank), strict=True)
    return Step(config, events, has, actions, micro_batches)
