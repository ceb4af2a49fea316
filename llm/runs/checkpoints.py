"""The checkpoints of a run: what it has learned up to a step, so that it can be continued or used.

    checkpoints/step-00000500/      model.safetensors, optimizer.safetensors, state.json
    model.safetensors ...           the same files of the newest checkpoint, under a second name (a hard link)

A checkpoint is written in a temporary folder, forced to the disk, and renamed. So it is there whole or not at all.
state.json holds the SHA-256 of the other files, and of the tokenizer, so that damage is noticed when it is loaded. The
two newest checkpoints are kept, and the one with the best validation loss. Arrays are stored as safetensors, never as
pickle: loading a pickle can run any code that its author put in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from llm.model.arrays import load_arrays
from llm.runs.errors import RunError
from llm.runs.files import digest, link_file, new_folder, remove, write_json
from llm.runs.state import STATE, read_state

PREFIX = "step-"  # of the folder of a checkpoint
MODEL, OPTIMIZER, TOKENIZER = "model.safetensors", "optimizer.safetensors", "tokenizer.json"
FILES = (MODEL, OPTIMIZER, STATE)  # of a checkpoint
NEWEST_KEPT = 2  # if the last one is damaged, there is another to go back to


@dataclass(frozen=True)
class Checkpoint:
    """What a run has learned up to a step: arrays by name, and the other values, which are in state.json (state.py)."""

    weights: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]  # empty when it was loaded without
    state: dict[str, Any]
    folder: Path | None = None  # from which it was loaded
    problems: tuple[str, ...] = ()  # one sentence for each newer checkpoint that could not be used

    @property
    def step(self) -> int:
        return self.state["step"]

    def name(self, file: str) -> str:
        """One of its files (FILES), for messages."""
        return f"{file} of step {self.step}" if self.folder is None else str(self.folder / file)


class Checkpoints:
    """All checkpoints of the run in `run_folder`."""

    def __init__(self, run_folder: Path):
        self.run_folder = run_folder
        self.folder = run_folder / "checkpoints"

    def folder_of(self, step: int) -> Path:
        return self.folder / f"{PREFIX}{step:08d}"

    def steps(self) -> list[int]:
        """The steps of all checkpoints, the newest one first. Other files and folders beside them are ignored."""
        names = {path.name for path in self.folder.glob(f"{PREFIX}*")}
        numbers = {int(digits) for name in names if (digits := name.removeprefix(PREFIX)).isdecimal()}
        # Of step 1, only the folder step-00000001 counts, and not one called step-1.
        return sorted((step for step in numbers if self.folder_of(step).name in names), reverse=True)

    @property
    def exist(self) -> bool:
        """Whether any checkpoint was made, damaged or not."""
        return bool(self.steps()) or (self.run_folder / STATE).exists()

    # --- saving -------------------------------------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, and delete those that are no longer needed.

        Raises RunError when it cannot be written, as when the disk is full. The earlier checkpoints are unharmed then.
        """
        folder = self.folder_of(checkpoint.step)
        try:
            self._write(checkpoint, folder)
            self._link(folder, self.run_folder)
            self._prune(checkpoint.step, checkpoint.state["best_step"])
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"the checkpoint of step {checkpoint.step} could not be written to {folder} ({error}); "
                "make room there, or allow writing, and go on from the one before with --resume"
            ) from error

    def _write(self, checkpoint: Checkpoint, folder: Path) -> None:
        with self._replaced(folder) as partial:
            save_file(checkpoint.weights, partial / MODEL)
            save_file(checkpoint.optimizer, partial / OPTIMIZER)
            files = (partial / MODEL, partial / OPTIMIZER, self.run_folder / TOKENIZER)
            checksums = {path.name: digest(path) for path in files}
            write_json(partial / STATE, {**checkpoint.state, "files": checksums})

    def _replaced(self, folder: Path) -> AbstractContextManager[Path]:
        """`new_folder`, also where this folder exists: it is damaged, so the run went back to an earlier step."""
        self.folder.mkdir(exist_ok=True)
        remove(folder)
        return new_folder(folder)

    def mend(self, checkpoint: Checkpoint) -> None:
        """Give each file of a loaded checkpoint both names again: after a kill or damage it may have only one."""
        folder = self.folder_of(checkpoint.step)
        if checkpoint.folder == self.run_folder:
            with self._replaced(folder) as partial:
                self._link(self.run_folder, partial)
        else:
            self._link(folder, self.run_folder)

    @staticmethod
    def _link(source: Path, target: Path) -> None:
        for name in FILES:  # the state last: with it, the copy in `target` is complete
            link_file(source / name, target / name)

    def _prune(self, step: int, best_step: int) -> None:
        """Delete all but the newest up to `step`, and the best. Those after `step` are damaged, see `_replaced`."""
        steps = self.steps()
        keep = {*[each for each in steps if each <= step][:NEWEST_KEPT], best_step}
        for each in steps:
            if each not in keep:
                remove(self.folder_of(each))

    # --- loading ------------------------------------------------------------------------------------------------------

    def load(self, which: Literal["last", "best"] = "last", *, with_optimizer: bool = True) -> Checkpoint | None:
        """The "last" checkpoint that is not damaged, or the "best" one by validation loss; None if none was made yet.

        The state of the optimizer is twice as large as the weights: inference goes without. Raises RunError when there
        are checkpoints, but none can be used.
        """
        problems: list[str] = []
        for folder in self._candidates(problems):
            try:
                last = self._read(folder, with_optimizer=with_optimizer)
            except RunError as error:
                problems.append(str(error))
                continue
            _verify(self.run_folder / TOKENIZER, last.state)
            found = last if which == "last" else self._best(last, with_optimizer=with_optimizer)
            return replace(found, problems=tuple(problems))
        if problems:
            raise RunError("; ".join(problems) + "; no checkpoint is left to go back to")
        return None

    def _candidates(self, problems: list[str]) -> Iterator[Path]:
        """The folders to load from, the newest step first. Sentences on what is wrong are added to `problems`."""
        steps = self.steps()
        own = self._step_of_run_folder(steps, problems)
        if own is None:
            yield from map(self.folder_of, steps)
            return
        yield from (self.folder_of(step) for step in steps if step >= own)
        # Without any folders, nothing is missing: only the files of the run folder were copied here.
        if steps and own not in steps:
            problems.append(f"{self.folder_of(own)} is missing")
        yield self.run_folder
        yield from (self.folder_of(step) for step in steps if step < own)

    def _step_of_run_folder(self, steps: list[int], problems: list[str]) -> int | None:
        """The step of the files in the run folder; None if they are only second names of those of one of `steps`."""
        path = self.run_folder / STATE
        if not path.exists() or any(self._is_second_name_of(self.folder_of(step)) for step in steps):
            return None
        try:
            return read_state(path)["step"]
        except RunError as error:
            problems.append(str(error))
            return None

    def _is_second_name_of(self, folder: Path) -> bool:
        try:
            return all((self.run_folder / name).samefile(folder / name) for name in FILES)
        except OSError:  # one of them is missing
            return False

    def _best(self, last: Checkpoint, *, with_optimizer: bool) -> Checkpoint:
        best_step = last.state["best_step"]
        if not best_step:
            raise RunError(
                f"{self.run_folder} was not evaluated before step {last.step}, so no checkpoint is the best; "
                "use the last one"
            )
        return last if best_step == last.step else self._read(self.folder_of(best_step), with_optimizer=with_optimizer)

    def _read(self, folder: Path, *, with_optimizer: bool) -> Checkpoint:
        """Raises RunError, naming the file, when one is missing, damaged or of something else."""
        state = read_state(folder / STATE)
        if folder not in (self.run_folder, self.folder_of(state["step"])):
            raise RunError(f"{folder / STATE} is of step {state['step']}, and not of the one in the name of its folder")
        optimizer = _read_arrays(folder / OPTIMIZER, state) if with_optimizer else {}
        return Checkpoint(_read_arrays(folder / MODEL, state), optimizer, state, folder)


def _read_arrays(path: Path, state: dict[str, Any]) -> dict[str, np.ndarray]:
    _verify(path, state)
    try:
        return load_arrays(path)
    # KeyError: a type that NumPy does not have
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise RunError(f"{path} cannot be read ({error})") from None


def _verify(path: Path, state: dict[str, Any]) -> None:
    """Raise RunError unless the file is the one that the checkpoint was saved with."""
    try:
        found = digest(path)
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from None
    if found != state["files"].get(path.name):
        raise RunError(f"{path} is damaged: its SHA-256 is not the one in {STATE}")
