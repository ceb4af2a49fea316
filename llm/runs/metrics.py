"""The metrics of a run: one line for each step in metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llm.runs.step_lines import StepLines, iterate_lines

FIELDS = ("step", "train_loss", "val_loss", "lr", "grad_norm", "tokens_per_second", "elapsed")
IF_ANY = ("expert_shares",)  # keys that not all lines have
TRAIN, VAL = "train_", "val_"  # what the names of other metrics begin with, such as train_accuracy and val_accuracy
TASK = "task_"  # what the names of tasks begin with that the model solved at an evaluation: the share of right answers


class Metrics(StepLines):
    """The file metrics.jsonl: one JSON object for each step, with the keys FIELDS.

    `val_loss` is null except after an evaluation. If the model has experts, the line of an evaluation has the key
    `expert_shares` too: for each layer, the shares of the tokens of its least and its most used expert. Other metrics
    of an objective have keys such as `train_accuracy` and, in the lines of evaluations, `val_accuracy` and those of
    tasks, such as `task_copying`.
    `tokens_per_second` and `elapsed` measure only the updates, without evaluations, samples and checkpoints. `elapsed`
    is in seconds, and goes on when a run is resumed.
    """

    def __init__(self, path: Path, steps: int):
        super().__init__(path, steps, FIELDS)

    def add(self, **line: Any) -> None:
        """Append a line. Numbers that are not finite become null, because JSON has no NaN."""
        row = {name: line[name] for name in FIELDS}
        row |= {name: value for name, value in line.items() if is_of_objective(name)}
        row = {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}
        self.write(row | {name: line[name] for name in IF_ANY if line.get(name)})


def iterate_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics.jsonl, one after the other: step_lines.py."""
    return iterate_lines(path, FIELDS)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    return list(iterate_metrics(path))


def named(begin: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of an objective as keys of a line. `begin`: TRAIN or VAL."""
    return {begin + name: value for name, value in metrics.items()}


def is_of_objective(key: str) -> bool:
    """Whether a key of a line is that of a metric of the objective, or of a task."""
    return key.startswith((TRAIN, VAL, TASK)) and key not in FIELDS
