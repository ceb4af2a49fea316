"""A model in training: one update after the other, how good it is, and the state to go on from.

Everything random is a function of the seed and the step (batches, dropout) and everything else is in the state, so a
run that was killed and resumed ends with the same weights, bit for bit, as one that was not. Knows nothing of files and
terminals.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from llm.data.batches import Batches, evaluation_batches
from llm.data.dataset import Dataset
from llm.evaluation.loss import Evaluation, evaluate
from llm.model.gpt import GPT
from llm.parallel.processes import workers_for
from llm.runs.options import Options
from llm.runs.run import Checkpoint, RunError
from llm.training.step import StepResult, learning_rate, train_step
from minigrad.optim import AdamW


class Trainer:
    """`step` counts the updates that were done; so many `workers` share a batch."""

    def __init__(self, options: Options, dataset: Dataset, device: str = "cpu", workers: int = 1):
        training, model = options.training, options.model
        self.options = training
        self.model = GPT(model, rng=np.random.default_rng(training.seed))
        self.model.to(device)
        self.workers = workers_for(self.model, workers)
        self.optimizer = AdamW(
            self.model.named_parameters(),
            lr=training.lr,
            betas=(0.9, training.beta2),
            weight_decay=training.weight_decay,
            decay=lambda p: p.ndim >= 2,
        )
        self.batches = Batches(dataset.train, training.batch_size, model.context, training.seed)
        self.validation = evaluation_batches(dataset.val, training.batch_size, model.context, training.eval_batches)
        self.bytes_per_token = dataset.bytes_per_token
        self.rate = learning_rate(training)
        self.data = {"train": dataset.train.checksum, "val": dataset.val.checksum}
        self.step, self.skipped, self.elapsed = 0, 0, 0.0  # elapsed: seconds in updates
        self.best_step, self.best_loss = 0, math.inf

    @property
    def finished(self) -> bool:
        return self.step >= self.options.steps

    def update(self) -> StepResult:
        """Learn from the next batch. `skipped` counts the updates in a row that had no finite loss and were not
        made.
        """
        began, options = time.perf_counter(), self.options
        result = train_step(
            self.workers,
            self.optimizer,
            *self.batches.batch(self.step),
            lr=self.rate(self.step),
            clip=options.clip,
            micro_batches=options.micro_batches,
            seed=(options.seed, self.step),
        )
        self.step += 1
        self.skipped = 0 if result.updated else self.skipped + 1
        self.elapsed += time.perf_counter() - began
        return result

    def evaluate(self) -> tuple[Evaluation, bool]:
        """How good the model is on the validation batches, and whether it was never better."""
        evaluation = evaluate(self.workers, self.validation, self.bytes_per_token)
        better = evaluation.loss < self.best_loss
        if better:
            self.best_step, self.best_loss = self.step, evaluation.loss
        return evaluation, better

    def state(self) -> dict[str, Any]:
        """What `restore` needs besides the arrays of the model and the optimizer; plain values."""
        return {
            "step": self.step,
            "best_step": self.best_step,
            "best_loss": self.best_loss if self.best_step else None,
            "skipped": self.skipped,
            "elapsed": self.elapsed,
            "data": self.data,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint was made. Raises RunError, before anything has changed, when it is of another model
        or other text.
        """
        state = checkpoint.state
        if state["data"] != self.data:
            raise RunError(
                "the text is not the one this run was trained on so far; give the same --data and --val-fraction, "
                "or start a new run"
            )
        try:
            self.model.load_state_dict(checkpoint.weights)
            self.optimizer.load_state_dict(checkpoint.optimizer)
        except ValueError as error:
            raise RunError(
                f"the checkpoint of step {checkpoint.step} is of another model ({error}); start a new run"
            ) from None
        self.step, self.best_step, self.skipped, self.elapsed = (
            state[k] for k in ("step", "best_step", "skipped", "elapsed")
        )
        self.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
