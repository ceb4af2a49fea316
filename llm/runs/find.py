"""Which run is meant: the newest one, or a folder for a new one."""

from __future__ import annotations

import os
from pathlib import Path

from llm.console import command_line
from llm.runs.errors import RunError
from llm.runs.run import CONFIG, Run
from llm.runs.state import STATE


def newest_run(folder: str | Path = "runs") -> Run:
    """The run in `folder` that was changed last. Raises RunError if there is none."""

    def last_change(run: Path) -> float:
        return max((os.path.getmtime(path) for path in (run / CONFIG, run / STATE) if path.exists()), default=0.0)

    runs = [config.parent for config in Path(folder).glob(f"*/{CONFIG}")]
    if not runs:
        raise RunError(f"there is no run in {folder}/ yet; start one with: {command_line('train.py')}")
    return Run(max(runs, key=last_change))


def new_run(preset: str, folder: str | Path = "runs") -> Run:
    """A folder for a new run: PRESET-1, or the next free number."""
    number = 1
    while (path := Path(folder) / f"{preset}-{number}").exists():
        number += 1
    return Run(path)
