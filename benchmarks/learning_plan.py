"""The run of train.py that benchmarks/learning.py measures, in plain arrays that any library can read.

The folder of a plan is that of a task (task.py) with the initial weights and, as ids, all batches in their order. The
plan adds the learning rate of each step, the other settings of the optimizer, the validation batches, and the steps
after which the models are tested.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.task import Task


@dataclass(frozen=True)
class LearningPlan:
    """`stops`: the steps after which the validation loss is computed. `options`: those of train.py, as JSON."""

    folder: Path
    stops: list[int]
    options: dict[str, Any]
    rates: list[float]
    betas: list[float]
    weight_decay: float
    clip: float

    @classmethod
    def read(cls, folder: Path) -> LearningPlan:
        return cls(folder, **json.loads((folder / "learning_plan.json").read_text()))

    @classmethod
    def write(cls, folder: Path, options: Any, threads: int, stops: list[int]) -> LearningPlan:
        """Make the plan of a run with these options of train.py, and put it into the folder."""
        from llm.runs.run import Run  # not at the top: other libraries read plans without loading our engine
        from llm.training.setup import set_up

        trainer, _ = set_up(options, Run(folder / "prepared"))
        training, model, betas = trainer.options, trainer.model, list(trainer.optimizer.betas)
        batches = [trainer.batches.batch(step) for step in range(training.steps)]
        rates = [trainer.schedule(step) for step in range(training.steps)]
        Task(folder, model.config, training.batch_size, threads).save(model.state_dict(), _joined(batches))
        np.save(folder / "validation.npy", _joined(trainer.validation.batches))
        plan = cls(folder, stops, options.to_json(), rates, betas, training.weight_decay, training.clip)
        fields = {name: value for name, value in vars(plan).items() if name != "folder"}
        (folder / "learning_plan.json").write_text(json.dumps(fields))
        trainer.workers.close()
        return plan

    def validation(self) -> np.ndarray:
        """The validation batches (batches, B, T + 1), int64."""
        return np.load(self.folder / "validation.npy")


def _joined(batches: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Inputs and targets (B, T) of all batches as texts of one token more (batches, B, T + 1)."""
    return np.stack([np.concatenate((inputs, targets[:, -1:]), axis=1) for inputs, targets in batches])
