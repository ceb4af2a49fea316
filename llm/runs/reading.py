"""The folder of a run as all ranks but the first see it: they read it, and rank 0 alone writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm.runs.checkpoints import Checkpoint, Checkpoints
from llm.runs.run import PROFILE, Run


class ReadingRun(Run):
    """A run's folder, of which nothing is changed."""

    def __init__(self, folder: str | Path):
        super().__init__(folder)
        self.checkpoints = ReadingCheckpoints(self.folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield

    def open_metrics(self, steps: int) -> Any:
        return NoLines()

    def open_lines(self, name: str, steps: int) -> Any:
        return NoLines()

    def draw_losses(self, step: int) -> None:
        return

    def write_profile(self, picture: str) -> Path:
        return self.folder / PROFILE


class ReadingCheckpoints(Checkpoints):
    def save(self, checkpoint: Checkpoint) -> None:
        return


class NoLines:
    """Metrics, or other lines, that are not written."""

    path, unreadable = Path(os.devnull), 0

    def add(self, **line: Any) -> None: ...

    def write(self, line: Any) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...
