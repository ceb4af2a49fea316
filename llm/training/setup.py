"""From options to a trainer: the task with its data, the model, the optimizer, and the checkpoint to continue from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from llm.hub.tuned import add_adapter, base_checksum, base_model, checked_base
from llm.model.frozen import check_trainable, freeze
from llm.model.gpt import GPT
from llm.parallel.blas import steady_blas_threads
from llm.parallel.job import Job
from llm.parallel.objective import rows_at_once
from llm.parallel.runtime import return_freed_memory, set_blas_threads, threads_to_use
from llm.parallel.workers import Workers
from llm.runs.checkpoints import Checkpoint
from llm.runs.options import Options, TrainOptions
from llm.runs.run import Run
from llm.training.captured import CapturedStep, obstacle
from llm.training.checks import check_room, problems_of_schedule
from llm.training.display import print_line
from llm.training.memory import advised
from llm.training.mixed_precision import MixedPrecision
from llm.training.optimizers import make_optimizer
from llm.training.step import learning_rate, train_step
from llm.training.task import Parts, Task, TaskKind
from llm.training.text import TextTask
from llm.training.trainer import Trainer, load_checkpoint
from minigrad.backend import pick_device
from minigrad.precision import precision_named

ONE_PROCESS = Job()


def set_up(options: Options, run: Run, kind: TaskKind = TextTask, job: Job = ONE_PROCESS) -> tuple[Trainer, Task]:
    """A trainer and its task. If the folder holds a run, the trainer continues from its newest checkpoint.

    Raises ValueError (DataError, RunError ...) or OSError, with a sentence for the user, when data, tokenizer, options
    or checkpoint cannot be used. The folder is not changed then.
    """
    precision_named(options.training.precision)  # a package that is missing is told before anything that takes long
    device = pick_device(options.training.device)
    checkpoint = _newest_checkpoint(run) if run.exists else None
    eval_tasks = tasks_to_solve(options.training)  # before anything that takes long
    task = job.in_turn(lambda: kind(options, run))
    options = task.options
    return_freed_memory()  # learning and tokenizing need far more than training may
    if checkpoint is not None:
        run.check_size(checkpoint, options.model)  # before a model is built, which may need much memory
    with advised(options, worker_count(options.training, device)):
        model = task.extend(initial_model(options, run, restored=checkpoint is not None, job=job))
        check_trainable(model)
        if checkpoint is not None:
            checkpoint = job.own(checkpoint, model)
            load_checkpoint(model, checkpoint)  # before processes get their copies of what is frozen
        parts = task.parts(model)
        if eval_tasks:
            from llm.training.eval_tasks import with_tasks

            parts = with_tasks(parts, eval_tasks, model, task.tokenizer, options.training.threads)
        trainer = make_trainer(options, parts, device, model, job)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    sizes = () if trainer.finished else trainer.checkpoint_sizes()
    # The folder of the run is written last, when everything that can fail has succeeded.
    job.on_first(lambda: _write(run, task, checkpoint, sizes))
    return trainer, task


def tasks_to_solve(training: TrainOptions) -> list[Any]:
    """The tasks of --eval-task. What they need is imported only if there are some."""
    if not training.eval_task:
        return []
    from llm.training.eval_tasks import eval_tasks

    return eval_tasks(training)


def initial_model(options: Options, run: Run | None = None, *, restored: bool, job: Job = ONE_PROCESS) -> GPT:
    """The model before the first step, with its adapter, or with what is frozen.

    `run`: a run that may have begun. `restored`: a checkpoint will replace all weights that it holds.
    """
    model = _first_weights(options, run, restored=restored, job=job)
    add_adapter(model, options.tuning, options.training.seed)
    freeze(model, options.tuning.freeze)
    return model


def _first_weights(options: Options, run: Run | None, *, restored: bool, job: Job) -> GPT:
    """Those of --from, or drawn from the seed. A run that was stopped before its first checkpoint is not `restored`."""
    path = options.training.from_
    if path is None:
        return job.make_model(options.model, np.random.default_rng(options.training.seed))
    if options.tuning.has_adapters:  # checkpoints do not hold these weights
        return base_model(checked_base(run, path) if run is not None and run.exists else path, options.model)
    return job.part_of(GPT(options.model, rng=None) if restored else base_model(path, options.model))


def make_trainer(options: Options, parts: Parts, device: str, model: GPT, job: Job = ONE_PROCESS) -> Trainer:
    """A trainer of the model for what a task asks for."""
    training = options.training
    count = job.worker_count(worker_count(training, device))
    model.train()
    model.recompute = training.recompute
    # Each of several workers has one core. A single worker leaves its cores to matrix products.
    set_blas_threads(1 if count > 1 else steady_blas_threads(training.threads, model.num_parameters()))
    model.to(device)
    objective = MixedPrecision(training.precision).objective(parts.objective, model)
    workers, optimizer = job.make_workers(model, objective, count, partial(make_optimizer, model, training))
    return Trainer(
        training,
        workers=workers,
        optimizer=optimizer,
        batches=parts.batches,
        schedule=learning_rate(training),
        validation=parts.validation,
        data=parts.data,
        description=parts.description,
        step=train_step if device == "cpu" or obstacle(options, workers) else CapturedStep(),
    )


def worker_count(training: TrainOptions, device: str) -> int:
    """How many workers divide a micro-batch: one for each core, at most one for each row; on a GPU a single one."""
    rows = rows_at_once(training.batch_size, training.micro_batches)
    return min(threads_to_use(training.threads), rows) if device == "cpu" else 1


def describe(trainer: Trainer, task: Task, run: Run) -> str:
    """What is about to be trained, in lines that fit into 80 columns unless names are long."""
    training, step = trainer.options, trainer.state.step
    hardware = str(trainer.workers) if trainer.model.device == "cpu" else trainer.model.device
    lines = [
        f"{describe_parameters(trainer.workers)}, vocabulary {task.tokenizer.vocab_size:,}, "
        f"context {task.options.model.context:,}, on {hardware}",
        trainer.description,
        *([describe_steps(trainer, task)] if trainer.model.device != "cpu" else []),
        *([f"begins with the weights of {training.from_}"] if training.from_ and not step else []),
        f"{f'from step {step:,}, ' if step else ''}{training.steps:,} steps of {training.batch_size} {task.rows}; "
        f"run folder {run}",
    ]
    return "\n".join(lines + problems_of_schedule(training))


def describe_steps(trainer: Trainer, task: Task) -> str:
    """On a GPU: whether a step is one launch, and why not."""
    if isinstance(trainer.step, CapturedStep):
        return "a step is started as a whole, in a CUDA graph"
    return f"a step is started one operation at a time: {obstacle(task.options, trainer.workers)}"


def describe_parameters(workers: Workers) -> str:
    frozen = sum(p.size for _, p in workers.model.named_parameters() if not p.requires_grad)
    total = workers.num_parameters
    return f"{total:,} parameters" + (f", {total - frozen:,} of them trained" if frozen else "")


def _newest_checkpoint(run: Run) -> Checkpoint | None:
    checkpoint = run.checkpoints.load()
    if checkpoint is not None:
        for problem in checkpoint.problems:
            print_line(f"{problem}; going back to the checkpoint of step {checkpoint.step}")
    return checkpoint


def _write(run: Run, task: Task, checkpoint: Checkpoint | None, sizes: Sequence[int]) -> None:
    """Write the options (and for a new run the tokenizer) to the folder, and delete what a kill left behind.

    `sizes`: of the files of the next checkpoint, for which there must be room.
    """
    options = task.options
    check_room(run.folder, sizes)
    run.clean()
    if run.exists:
        run.write_options(options)
    else:
        base = base_checksum(str(options.training.from_)) if options.tuning.has_adapters else None
        run.begin(options, task.tokenizer, base=base, task=task.about())
    task.write(run)
    if checkpoint is not None:
        # The run may have been killed after it saved the checkpoint, and before it linked its files.
        run.checkpoints.mend(checkpoint)
