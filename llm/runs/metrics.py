"""The metrics of a run: one line for each step in metrics.jsonl."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llm.runs.errors import RunError
from llm.runs.files import open_regular
from tokenizer.formats.atomic import new_file

LONGEST_LINE = 1 << 16  # bytes: a line has about 200
FIELDS = ("step", "train_loss", "val_loss", "lr", "grad_norm", "tokens_per_second", "elapsed")
IF_ANY = ("expert_shares",)  # keys that not all lines have
TRAIN, VAL = "train_", "val_"  # what the names of other metrics begin with, such as train_accuracy and val_accuracy
TASK = "task_"  # what the names of tasks begin with that the model solved at an evaluation: the share of right answers


class Metrics:
    """The file metrics.jsonl: one JSON object for each step, with the keys FIELDS.

    `val_loss` is null except after an evaluation. If the model has experts, the line of an evaluation has the key
    `expert_shares` too: for each layer, the shares of the tokens of its least and its most used expert. Other metrics
    of an objective have keys such as `train_accuracy` and, in the lines of evaluations, `val_accuracy` and those of
    tasks, such as `task_copying`.
    `tokens_per_second` and `elapsed` measure only the updates, without evaluations, samples and checkpoints. `elapsed`
    is in seconds, and goes on when a run is resumed.
    """

    def __init__(self, path: Path, steps: int):
        """Keep the lines of the first `steps` steps, and append to them. All other lines are dropped.

        Steps after the last checkpoint are done again when a run is resumed, and get new lines. A kill may also have
        left half a line.
        """
        self.path = path
        found = 0
        # Line by line: the lines of a long run take much memory.
        with new_file(path) as partial, open(partial, "w", encoding="utf-8") as file:
            for line in iterate_metrics(path):
                found += 1
                if line["step"] <= steps:
                    file.write(json.dumps(line) + "\n")
            self.unreadable = max(0, _count_lines(path) - found)  # how many are damaged, or not a line of metrics
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115  until `close`

    def add(self, **line: Any) -> None:
        """Append a line. Numbers that are not finite become null, because JSON has no NaN."""
        row = {name: line[name] for name in FIELDS}
        row |= {name: value for name, value in line.items() if is_of_objective(name)}
        row = {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}
        row |= {name: line[name] for name in IF_ANY if line.get(name)}
        self.file.write(json.dumps(row) + "\n")

    def flush(self) -> None:
        """Force all lines to the disk. Call this before a checkpoint is saved, so that all its steps have a line."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl that are complete; none if there is no such file.

    Raises RunError when it is no file, or cannot be read.
    """
    return list(iterate_metrics(path))


def iterate_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of `read_metrics`, one after the other."""
    try:
        with open_regular(path) as file:
            # A longer line is read in parts. No part is valid JSON, so it is left out.
            while text := file.readline(LONGEST_LINE):
                if not text.startswith(b"{"):
                    continue
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):  # RecursionError: a thousand brackets inside each other
                    continue
                if isinstance(line, dict) and set(FIELDS) <= line.keys() and type(line["step"]) is int:
                    yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); delete it, or put the right one back") from None


def named(begin: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of an objective as keys of a line. `begin`: TRAIN or VAL."""
    return {begin + name: value for name, value in metrics.items()}


def is_of_objective(key: str) -> bool:
    """Whether a key of a line is that of a metric of the objective, or of a task."""
    return key.startswith((TRAIN, VAL, TASK)) and key not in FIELDS


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
