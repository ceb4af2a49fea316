"""The steps of one of several ranks: the program that benchmarks/ranks.py starts with mpiexec."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from llm.model.config import GPTConfig
from llm.parallel.communicators.mpi import Processes
from llm.parallel.data.ranks import Ranks
from llm.parallel.mesh import Mesh
from llm.parallel.model_part import ModelPart
from llm.parallel.pipeline.ranks import PipelineRanks
from llm.parallel.pipeline.timeline import bubble
from llm.parallel.plan.split import Split
from llm.parallel.zero.kinds import sharded
from llm.training.objectives import NextToken
from llm.training.step import train_step
from minigrad.optim import AdamW

CONFIG = GPTConfig(vocab_size=1024, context=64, layers=8, heads=8, dim=128)
MICRO_BATCHES = 8  # of a pipeline, at most
MESSAGE = 1 << 20  # numbers of a message whose time is measured


class Job(NamedTuple):
    data: int
    tensor: int
    pipeline: int
    zero: int = 0

    @property
    def ranks(self) -> int:
        return self.data * self.tensor * self.pipeline

    @property
    def name(self) -> str:
        names = ("data", self.data), ("tensor", self.tensor), ("pipeline", self.pipeline)
        given = [f"{n} {name}" for name, n in names if n > 1] + [f"ZeRO {self.zero}"] * (self.zero > 0)
        return " ".join(given) or "one"

    def split(self, rows: int) -> Split:
        """With a batch of so many rows."""
        own = max(1, rows // self.data // (MICRO_BATCHES if self.pipeline > 1 else 1))
        return Split(self.data, self.tensor, self.pipeline, own, zero=self.zero, recompute=self.zero == 3)


def rank(job: list[int], rows: list[int], steps: int, memory: bool) -> None:
    """Rank 0 prints, as JSON: for each batch, the seconds of each step; the peak, bytes and bubble of all ranks."""

    groups: list[Processes] = []  # all, because each knows what it has sent itself
    initialise = Processes.__init__
    Processes.__init__ = lambda self, *given: initialise(self, *given) or groups.append(self)  # type: ignore
    if memory:
        tracemalloc.start()
    world, split = Processes(), Job(*job)
    mesh = Mesh(world, data=split.data, tensor=split.tensor, pipeline=split.pipeline)
    found: dict[str, Any] = {"message": message_rate(world), "libraries": {"NumPy": np.__version__}}
    for n in rows[:1] * memory + rows:  # what is made once, such as tables, is made before memory is measured
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] if memory else 0  # modules, and the like
        workers, step = make_step(mesh, split, n)
        step()
        before = sum(group.sent for group in groups)
        if memory:
            tracemalloc.reset_peak()
        seconds = [timed(world, step) for _ in range(steps)]
        own = (sum(group.sent for group in groups) - before) // steps, tracemalloc.get_traced_memory()[1] - held
        waited = bubble(workers.timeline()) if split.pipeline > 1 else 0.0
        sent, peaks = zip(*world.exchange_objects([own] * world.size))
        found[str(n)] = {"seconds": seconds, "sent": sent, "peaks": peaks, "bubble": waited}
        del workers, step
    if mesh.is_first:
        print(json.dumps(found))


def make_step(mesh: Any, job: Job, rows: int) -> tuple[Any, Callable[[], Any]]:

    part = ModelPart(mesh, CONFIG)
    model = part.make(0)
    model.train()
    optimizer, reduction = sharded(
        job.zero, model, lambda kind: kind(AdamW)(model.named_trainable()), mesh.data, part=part
    )
    workers: Any = (
        PipelineRanks([model], NextToken(), reduction, part=part)  # type: ignore[list-item]
        if job.pipeline > 1
        else Ranks(model, NextToken(), 1, reduction, part)
    )
    ids = np.random.default_rng(0).integers(0, CONFIG.vocab_size, (rows, CONFIG.context))
    micro = job.split(rows).micro_batches(rows)
    return workers, lambda: train_step(workers, optimizer, (ids, ids), lr=1e-3, micro_batches=micro)


def timed(world: Any, step: Callable[[], Any]) -> float:
    world.barrier()
    began = time.perf_counter()
    step()
    world.barrier()
    return time.perf_counter() - began


def message_rate(world: Any) -> float:
    """Bytes per second that each of the first two ranks sends to the other, while it receives as many."""
    pair = world.split(int(world.rank > 1))
    array = np.zeros(MESSAGE, np.float32)
    seconds = [timed(pair, lambda: pair.all_to_all([array] * pair.size, [array.shape] * pair.size)) for _ in range(9)]
    return array.nbytes / statistics.median(seconds)


if __name__ == "__main__":
    rank(**json.loads(sys.argv[1]))
