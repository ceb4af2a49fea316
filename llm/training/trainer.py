"""A trainer holds everything that training needs and changes. loop.py calls its `update`, prints, and writes files.

The trainer is given the model, the loss, the batches and the optimizer. train.py makes them in setup.py. Fine-tuning
and reinforcement learning are other tasks (task.py), with other batches and another objective; this trainer and the
loop in loop.py stay the same.

A run that was killed and resumed ends with the same weights, bit for bit, as a run without interruption. Two things
make that possible. Everything random (the order of batches, dropout) is a function of the seed and the step, so no
state of a random generator has to be saved. Everything else that changes is in the checkpoint: the weights, the moments
of the optimizer, and `TrainerState`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from llm.evaluation.loss import Evaluation
from llm.model.gpt import GPT
from llm.parallel.workers import Workers
from llm.runs.checkpoints import MODEL, OPTIMIZER, Checkpoint
from llm.runs.errors import RunError
from llm.runs.options import TrainOptions
from llm.runs.state import STATE
from llm.runs.trained import kept_parameters, load_trained, trained_state
from llm.training.mixed_precision import MixedPrecision
from llm.training.step import Schedule, StepResult, train_step
from llm.training.task import BatchSource, ChangingBatches, Validator
from minigrad.optim import Optimizer

BATCHES = "batches."  # begins the names of the arrays of ChangingBatches, which are saved beside the optimizer's


@dataclass
class TrainerState:
    """What changes with each update, besides the arrays of the model and the optimizer."""

    step: int = 0  # updates done so far
    skipped: int = 0  # how many updates in a row, up to now, were skipped because loss or gradient was not finite
    elapsed: float = 0.0  # seconds spent in updates
    best_step: int = 0  # the step with the lowest validation loss; 0: none yet
    best_loss: float = math.inf

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values. `best_loss` is None before the first evaluation, because JSON has no infinity."""
        return asdict(self) | {"best_loss": self.best_loss if self.best_step else None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainerState:
        """The inverse of `to_json`; other keys are ignored."""
        values = {field.name: data[field.name] for field in fields(cls)}
        if values["best_loss"] is None:
            values["best_loss"] = math.inf
        return cls(**values)


class Trainer:
    """Trains the model of `workers` to minimise their objective.

    `options`: the trainer reads only `steps`, `clip`, `micro_batches`, `seed` and `precision`.
    `data`: checksums by name, {"train": ..., "val": ...}, so that a run is not resumed with other data by mistake.
    `description`: of the data, in a line. `step`: `train_step`, or what does the same (captured.py).
    """

    def __init__(
        self,
        options: TrainOptions,
        *,
        workers: Workers,
        optimizer: Optimizer,
        batches: BatchSource,
        schedule: Schedule,
        validation: Validator,
        data: Mapping[str, str],
        description: str = "",
        step: Callable[..., StepResult] = train_step,
    ):
        self.options = options
        self.model, self.workers, self.optimizer = workers.model, workers, optimizer
        self.batches, self.schedule, self.validation, self.data = batches, schedule, validation, dict(data)
        self.description, self.step = description, step
        self.mixed = MixedPrecision(options.precision)
        self.state = TrainerState()  # replaced when a run is resumed

    @property
    def finished(self) -> bool:
        return self.state.step >= self.options.steps

    def update(self) -> StepResult:
        """Learn from the next batch."""
        began, options, state = time.perf_counter(), self.options, self.state
        result = self.step(
            self.workers,
            self.optimizer,
            self.batches.batch(state.step),
            lr=self.schedule(state.step),
            clip=options.clip,
            micro_batches=options.micro_batches,
            seed=(options.seed, state.step),  # so the dropout of a step is the same in a resumed run
            mixed=self.mixed,
        )
        # A skipped update counts as a step too. Otherwise the same batch would come again, with the same result.
        state.step += 1
        # An overflow of the loss scale is no failure: the scale is smaller at the next step.
        state.skipped = 0 if result.updated or result.overflow else state.skipped + 1
        state.elapsed += time.perf_counter() - began  # without evaluations, samples and checkpoints
        if isinstance(self.batches, ChangingBatches):
            return replace(result, metrics={**self.batches.measures, **result.metrics})
        return result

    def evaluate(self) -> tuple[Evaluation, bool]:
        """The loss on the validation batches, and whether it is the lowest so far."""
        with self.optimizer.averaged():
            evaluation = self.validation.evaluate(self.workers)
        better = evaluation.loss < self.state.best_loss  # False if the loss is NaN
        if better:
            self.state.best_step, self.state.best_loss = self.state.step, evaluation.loss
        return evaluation, better

    def checkpoint(self) -> Checkpoint:
        """Weights, state of the optimizer and counters, for `restore`. Call it inside of `optimizer.averaged()`.

        The arrays are not copies: write them to disk before the next update changes them.
        """
        state = {**self.state.to_json(), **self.mixed.to_json(), "data": self.data}
        with self.optimizer.whole_parameters(changed=False):  # ranks may have divided them (ZeRO)
            return Checkpoint(trained_state(self.model), self._optimizer_state(), state)

    def checkpoint_sizes(self) -> tuple[int, int]:
        """Bytes of the weights and of the state of the optimizer. Nothing is gathered for it."""
        weights = sum(p.data.nbytes for p in kept_parameters(self.model).values())
        of_batches = self.batches.state_dict() if isinstance(self.batches, ChangingBatches) else {}
        moments = self.optimizer.moments_size() + sum(x.nbytes for x in of_batches.values())
        whole, own = self.workers.num_parameters, self.model.num_parameters()  # this rank may have a part of the model
        return weights * whole // own, moments * whole // own

    def _optimizer_state(self) -> dict[str, np.ndarray]:
        """That of the optimizer, and that of batches which have one."""
        state = self.optimizer.state_dict(copy=False)
        if isinstance(self.batches, ChangingBatches):
            state |= {BATCHES + name: np.ascontiguousarray(x) for name, x in self.batches.state_dict().items()}
        return state

    def _load_optimizer_state(self, state: Mapping[str, np.ndarray]) -> None:
        of_batches = {name.removeprefix(BATCHES): x for name, x in state.items() if name.startswith(BATCHES)}
        self.optimizer.load_state_dict({name: x for name, x in state.items() if not name.startswith(BATCHES)})
        if isinstance(self.batches, ChangingBatches):
            self.batches.load_state_dict(of_batches)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint. Raises RunError if it was made with other data, or is of another model."""
        # With other data, training text and validation text are divided differently. The model may have been trained on
        # what is validation text now, and its validation loss would be too good to be true.
        if checkpoint.state["data"] != self.data:
            raise RunError(
                "the text is not the one this run was trained on so far; give the same --data and --val-fraction, "
                f"or start a new run (the checksums of its text are in {checkpoint.name(STATE)})"
            )
        self.mixed.restore(checkpoint.state)
        with self.optimizer.whole_parameters(changed=True):
            load_checkpoint(self.model, checkpoint)
        try:
            self._load_optimizer_state(checkpoint.optimizer)
        except (ValueError, KeyError, OverflowError) as error:  # OverflowError: a step count that is infinite
            raise misfit(checkpoint, OPTIMIZER, error) from None
        self.state = TrainerState.from_json(checkpoint.state)


def load_checkpoint(model: GPT, checkpoint: Checkpoint) -> None:
    """Give a model the weights of a checkpoint. Raises RunError if it is of another model."""
    try:
        load_trained(model, checkpoint.weights)
    except ValueError as error:
        raise misfit(checkpoint, MODEL, error) from None


def misfit(checkpoint: Checkpoint, file: str, error: Exception) -> RunError:
    return RunError(
        f"the checkpoint of step {checkpoint.step} is of another model ({checkpoint.name(file)}: {error}); "
        "put the config.json of the run back, or start a new run"
    )
