"""What is learned in benchmarks/learning.py: a run of train.py, as it is and as plain arrays for a library that is not
ours.

A lesson is a task (task.py): the folder has the weights to begin with and, as ids, all batches in their order. Beside
them are the learning rate of each step, what else the optimizer must know, the validation batches, and when to test.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.task import Task


@dataclass(frozen=True)
class Lesson:
    """`stops`: the steps after which the validation loss is asked for. `options`: those of train.py, as JSON."""

    folder: Path
    stops: list[int]
    options: dict[str, Any]
    rates: list[float]
    betas: list[float]
    weight_decay: float
    clip: float

    @classmethod
    def read(cls, folder: Path) -> Lesson:
        return cls(folder, **json.loads((folder / "lesson.json").read_text()))

    @classmethod
    def write(cls, folder: Path, options: Any, threads: int, stops: list[int]) -> Lesson:
        """Put a run with these options of train.py into the folder."""
        from llm.runs.run import Run  # only here: contestants that are not ours shall not load our engine
        from llm.training.setup import set_up

        trainer, _ = set_up(options, Run(folder / "prepared"))
        training, model = trainer.options, trainer.model
        texts = [trainer.batches.batch(step) for step in range(training.steps)]
        Task(folder, model.config, training.batch_size, threads).save(model.state_dict(), _joined(texts))
        np.save(folder / "validation.npy", _joined(trainer.validation.batches))
        lesson = cls(
            folder,
            stops,
            options.to_json(),
            [trainer.schedule(step) for step in range(training.steps)],
            list(trainer.optimizer.betas),
            training.weight_decay,
            training.clip,
        )
        fields = {name: value for name, value in vars(lesson).items() if name != "folder"}
        (folder / "lesson.json").write_text(json.dumps(fields))
        trainer.workers.close()
        return lesson

    def validation(self) -> np.ndarray:
        """(batches, B, T + 1), int64."""
        return np.load(self.folder / "validation.npy")


def _joined(batches: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Inputs and targets, each (B, T), of many batches: (batches, B, T + 1)."""
    return np.stack([np.concatenate((inputs, targets[:, -1:]), axis=1) for inputs, targets in batches])
