"""The job of several ranks, as one of them sees it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.data.ranks import Ranks
from llm.parallel.ending import agree, exit_status
from llm.parallel.job import Job, MakeOptimizer
from llm.parallel.mesh import Mesh
from llm.parallel.model_part import ModelPart
from llm.parallel.objective import Objective
from llm.parallel.pipeline.ranks import PipelineRanks
from llm.parallel.pipeline.stages import Stage
from llm.parallel.rank_checks import check, sizes
from llm.parallel.workers import Workers
from llm.parallel.zero.kinds import sharded
from llm.runs.checkpoints import Checkpoint, Checkpoints
from llm.runs.options import Options
from llm.runs.parallel_options import LARGEST_ZERO
from llm.runs.reading import ReadingRun
from llm.runs.run import Run
from minigrad.optim import Optimizer

T = TypeVar("T")


def job_of_ranks() -> Job:
    """The job of which mpiexec has started this process. Raises ValueError if mpi4py is missing."""
    try:
        from llm.parallel.communicators.mpi import Processes
    except ImportError as error:
        raise ValueError(f"mpiexec needs mpi4py and MPI ({error}); try: pip install mpi4py mpich") from None
    job = RankJob(Processes())
    job.silence()
    return job


class RankJob(Job):
    """`world`: all ranks. Until `split`, they wait for each other without end: rank 0 may learn a tokenizer first."""

    def __init__(self, world: Communicator):
        self.world = world
        self.part: ModelPart | None = None  # None: of a model that is not split, such as one with an adapter

    @property
    def is_first(self) -> bool:
        return self.world.rank == 0

    def silence(self) -> None:
        """Only rank 0 prints. The others would print the same, or a part of it."""
        if not self.is_first:
            sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  until the program ends

    def on_first(self, f: Callable[[], T]) -> T:
        if not self.is_first:
            with self.world.patient():
                status, result = self.world.broadcast_object(None)
            if status is not None:
                agree()
                sys.exit(status)
            return result
        try:
            result = f()
        except BaseException as error:
            self.world.broadcast_object((exit_status(error), None))
            agree()
            raise
        return self.world.broadcast_object((None, result))[1]

    def in_turn(self, f: Callable[[], T]) -> T:
        results: list[Any] = []
        self.on_first(lambda: results.append(f()))
        result = results[0] if self.is_first else f()
        with self.world.patient():
            self.world.barrier()
        return result

    def complete(self, options: Options) -> Options:
        self.on_first(lambda: check(options, self.world.size))
        data, tensor, pipeline = sizes(options, self.world.size)
        found: dict[str, Any] = {"data_parallel": data, "tensor_parallel": tensor, "pipeline_parallel": pipeline}
        return replace(options, parallel=replace(options.parallel, **found))

    def split(self, options: Options) -> None:
        """`options` are those that `complete` has returned."""
        self.world.patience = options.parallel.rank_timeout
        data, tensor, pipeline = sizes(options, self.world.size)
        self.parallel = options.parallel
        context = options.parallel.context_parallel
        self.mesh = Mesh(self.world, data=data, tensor=tensor, pipeline=pipeline, context=context)

    def view(self, run: Run) -> Run:
        view = run if self.is_first else ReadingRun(run.folder)
        view.checkpoints = GatheredCheckpoints(run.folder, self)
        return view

    def make_model(self, config: GPTConfig, rng: np.random.Generator) -> GPT:
        self.part = ModelPart(self.mesh, config, sequence=self.parallel.sequence_parallel)
        return self.part.make(rng)

    def part_of(self, model: GPT) -> GPT:
        self.part = ModelPart(self.mesh, model.config, sequence=self.parallel.sequence_parallel)
        return self.part.of(model)

    def own(self, checkpoint: Checkpoint, model: GPT) -> Checkpoint:
        return checkpoint if self.part is None else self.part.own(checkpoint, model)

    def worker_count(self, count: int) -> int:
        # Several threads would send and receive in any order.
        in_turn = self.parallel.zero == LARGEST_ZERO or self.mesh.model.size * self.mesh.context.size > 1
        return 1 if in_turn else count

    def make_workers(
        self, model: GPT, objective: Objective, count: int, make_optimizer: MakeOptimizer
    ) -> tuple[Workers, Optimizer]:
        optimizer, reduction = sharded(self.parallel.zero, model, make_optimizer, self.mesh.data, part=self.part)
        if isinstance(model, Stage):
            schedule = self.parallel.pipeline_schedule
            return PipelineRanks([model], objective, reduction, schedule, self.part), optimizer
        return Ranks(model, objective, count, reduction, self.part, self.mesh.context.size), optimizer

    def end(self, status: int) -> int:
        self.world.barrier()
        agree()
        return status


class GatheredCheckpoints(Checkpoints):
    """Checkpoints of which each rank has a part: rank 0 gathers them, and writes."""

    def __init__(self, run_folder: Path, job: RankJob):
        super().__init__(run_folder)
        self.job = job

    def save(self, checkpoint: Checkpoint) -> None:
        whole = checkpoint if self.job.part is None else self.job.part.gather(checkpoint)
        if self.job.is_first:
            super().save(whole)
