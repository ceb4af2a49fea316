"""What a program needs to know of the other ranks. One process is a job too, and has none.

    job = find_job()                        one process, or one of those that mpiexec has started (find_job.py)
    options = job.on_first(parse)           rank 0 does it, and all get the result
    task = job.in_turn(read_data)           rank 0 does it, then all others: they find its results in the cache
    options = job.complete(options)         what is not given follows from the number of ranks
    job.split(options)                      which rank works together with which others
    model = job.make_model(config, rng)
    workers, optimizer = job.make_workers(model, ...)
    job.end(status)

If rank 0 fails in `on_first` or `in_turn`, all ranks end, and only rank 0 says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.communicators.alone import Alone
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.mesh import Mesh
from llm.parallel.objective import Objective
from llm.parallel.selection import make_workers
from llm.parallel.workers import Workers
from llm.runs.checkpoints import Checkpoint
from llm.runs.options import Options
from llm.runs.run import Run
from minigrad.optim import Optimizer

T = TypeVar("T")
# Takes a function that returns, for a class such as AdamW, what is to be made in its place: itself, or one that divides
# its work with other ranks.
MakeOptimizer = Callable[[Callable[[type[Optimizer]], Any]], Optimizer]


class Job:
    """The job of one process."""

    world: Communicator = Alone()  # all ranks
    mesh: Mesh = Mesh.alone()

    def on_first(self, f: Callable[[], T]) -> T:
        """`f()` on rank 0. Returns its result on all ranks."""
        return f()

    def in_turn(self, f: Callable[[], T]) -> T:
        """`f()` on rank 0, then on all other ranks. Returns when all are ready."""
        return f()

    def complete(self, options: Options) -> Options:
        """The options, with the split where it is not given. Raises ValueError if it is not possible."""
        return options

    def split(self, options: Options) -> None:
        """Make the mesh. Raises ValueError if the options ask for one that is not possible."""
        if (ranks := options.parallel.ranks) > 1:
            raise ValueError(
                f"{options.parallel.given} needs {ranks} ranks, and this is one process; start with: "
                f"mpiexec -n {ranks} python train.py ..."
            )

    def view(self, run: Run) -> Run:
        """The run as this rank may use it."""
        return run

    def make_model(self, config: GPTConfig, rng: np.random.Generator) -> GPT:
        """The model of this rank, with its first weights."""
        return GPT(config, rng)

    def part_of(self, model: GPT) -> GPT:
        """The model of this rank, from one that is whole."""
        return model

    def own(self, checkpoint: Checkpoint, model: GPT) -> Checkpoint:
        """What `model`, that of this rank, needs of a checkpoint."""
        return checkpoint

    def worker_count(self, count: int) -> int:
        """How many workers this process may have, if it has `count` cores for them."""
        return count

    def make_workers(
        self, model: GPT, objective: Objective, count: int, make_optimizer: MakeOptimizer
    ) -> tuple[Workers, Optimizer]:
        """`count` workers of this process, and the optimizer."""
        # Workers before the optimizer: if they are processes, each gets a copy of all memory in use, see `Processes`.
        workers = make_workers(model, objective, count)
        return workers, make_optimizer(lambda kind: kind)

    def end(self, status: int) -> int:
        """All is done. Returns the exit status."""
        return status
