"""Work in stages, each made of tasks that do not depend on each other, in any number of processes or machines.

A task reads files and writes one file, whose name has a hash of all that its content depends on. If the file is there
already, the task has been done before: so a job that was killed goes on where it was, and no file is ever out of date.
A file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from llm.data.lab.workers import Run
from tokenizer.formats.atomic import new_file


def with_bars(run: Run) -> Run:
    """The same, with a progress bar for each stage, which has the name of the work."""
    return lambda work, tasks: tqdm(
        run(work, tasks), work.__name__.replace("_", " "), unit="", leave=False, disable=None
    )


def name_of(kind: str, *contents: Any) -> str:
    """A name for the file of a task: `kind`, and a hash of what it depends on."""
    return f"{kind}-{hashlib.blake2b(repr(contents).encode(), digest_size=12).hexdigest()}"


def save_array(path: Path, array: np.ndarray) -> None:
    with new_file(path) as partial, open(partial, "wb") as file:
        np.save(file, array)


def load_array(path: Path) -> np.ndarray:
    """An array of `save_array`, of which the parts are read that are used."""
    return np.load(path, mmap_mode="r")
