"""The checkpoints of a run: what it has learned up to a step, so that it can be continued or used.

    checkpoints/step-00000500/      model.safetensors, optimizer.safetensors, state.json
    model.safetensors ...           the same files of the newest checkpoint, under a second name (a hard link)

A checkpoint is written in a temporary folder, forced to the disk, and renamed. So it is there whole or not at all.
state.json holds the SHA-256 of the other files, and of the tokenizer, so that damage is noticed when it is loaded. The
two newest checkpoints are kept, and the one with the best validation loss. Arrays are stored as safetensors, never as
pickle: loading a pickle can run any code that its author put in.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from llm.model.arrays import load_arrays
from llm.runs.errors import RunError
from llm.runs.files import digest, link_file, new_folder, read_json, write_json

MODEL, OPTIMIZER, STATE, TOKENIZER = "model.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json"
STATE_KEYS = {"step", "best_step", "best_loss", "skipped", "elapsed", "data", "files"}
NEWEST_KEPT = 2  # if the last one is damaged, there is another to go back to


@dataclass(frozen=True)
class Checkpoint:
    """What a run has learned up to a step: arrays by name, and the plain values of state.json (STATE_KEYS)."""

    weights: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]  # empty when it was loaded without
    state: dict[str, Any]
    problems: tuple[str, ...] = ()  # one sentence for each newer checkpoint that could not be used

    @property
    def step(self) -> int:
        return self.state["step"]


class Checkpoints:
    """All checkpoints of the run in `run_folder`."""

    def __init__(self, run_folder: Path):
        self.run_folder = run_folder
        self.folder = run_folder / "checkpoints"

    def folder_of(self, step: int) -> Path:
        # Eight digits, so that the order of names is the order of steps.
        return self.folder / f"step-{step:08d}"

    def newest_first(self) -> list[Path]:
        """The folders of all checkpoints. Other files and folders beside them are ignored."""
        return sorted(self.folder.glob("step-" + 8 * "[0-9]"), reverse=True)

    # --- saving -------------------------------------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, and delete those that are no longer needed.

        Raises RunError when it cannot be written, as when the disk is full. The earlier checkpoints are unharmed then.
        """
        try:
            self._write(checkpoint)
            self.link(checkpoint.step)
            self._prune(checkpoint.step, checkpoint.state["best_step"])
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"the checkpoint of step {checkpoint.step} could not be written to {self.run_folder} ({error}); "
                "make room there, and go on from the one before with --resume"
            ) from error

    def _write(self, checkpoint: Checkpoint) -> None:
        folder = self.folder_of(checkpoint.step)
        self.folder.mkdir(exist_ok=True)
        # If the run was here before, it went back to an earlier step: because this checkpoint is damaged.
        shutil.rmtree(folder, ignore_errors=True)
        with new_folder(folder) as partial:
            save_file(checkpoint.weights, partial / MODEL)
            save_file(checkpoint.optimizer, partial / OPTIMIZER)
            files = (partial / MODEL, partial / OPTIMIZER, self.run_folder / TOKENIZER)
            checksums = {path.name: digest(path) for path in files}
            write_json(partial / STATE, {**checkpoint.state, "files": checksums})

    def link(self, step: int) -> None:
        """Give the files of a checkpoint their second name, in the folder of the run."""
        folder = self.folder_of(step)
        if folder.exists():
            for name in (MODEL, OPTIMIZER, STATE):
                link_file(folder / name, self.run_folder / name)

    def _prune(self, step: int, best_step: int) -> None:
        """Delete all but the newest up to `step`, and the best. Those after `step` are damaged, see `_write`."""
        up_to_step = [folder for folder in self.newest_first() if folder <= self.folder_of(step)]
        keep = {*up_to_step[:NEWEST_KEPT], self.folder_of(best_step)}
        for folder in self.newest_first():
            if folder not in keep:
                shutil.rmtree(folder, ignore_errors=True)

    # --- loading ------------------------------------------------------------------------------------------------------

    def load(self, which: Literal["last", "best"] = "last", *, with_optimizer: bool = True) -> Checkpoint | None:
        """The "last" checkpoint that is not damaged, or the "best" one by validation loss; None if none was made yet.

        The state of the optimizer is twice as large as the weights: inference goes without. Raises RunError when there
        are checkpoints, but none can be used.
        """
        problems: list[str] = []
        for folder in self._candidates():
            try:
                last = _read(folder, with_optimizer=with_optimizer)
            except RunError as error:
                problems.append(str(error))
                continue
            _verify(self.run_folder / TOKENIZER, last.state)
            found = last if which == "last" else self._best(last, with_optimizer=with_optimizer)
            return replace(found, problems=tuple(problems))
        if problems:
            raise RunError("; ".join(problems) + "; no checkpoint is left to go back to")
        return None

    def _candidates(self) -> list[Path]:
        """The folders to load from, in the order in which they are tried."""
        # The files in the folder of the run come last. They are all there is when only they were copied elsewhere.
        second_names = [self.run_folder] if (self.run_folder / STATE).exists() else []
        return self.newest_first() + second_names

    def _best(self, last: Checkpoint, *, with_optimizer: bool) -> Checkpoint:
        best_step = last.state["best_step"]
        if not best_step:
            raise RunError(
                f"{self.run_folder} was not evaluated before step {last.step}, so no checkpoint is the best; "
                "use the last one"
            )
        return last if best_step == last.step else _read(self.folder_of(best_step), with_optimizer=with_optimizer)


def _read(folder: Path, *, with_optimizer: bool) -> Checkpoint:
    """Raises RunError, naming the file, when one is missing, damaged or of something else."""
    path = folder / STATE
    try:
        state = read_json(path)
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None
    if not state.keys() >= STATE_KEYS or not isinstance(state["files"], dict):
        raise RunError(f"{path} is not the state of a checkpoint; it needs {', '.join(sorted(STATE_KEYS))}")
    optimizer = _read_arrays(folder / OPTIMIZER, state) if with_optimizer else {}
    return Checkpoint(_read_arrays(folder / MODEL, state), optimizer, state)


def _read_arrays(path: Path, state: dict[str, Any]) -> dict[str, np.ndarray]:
    _verify(path, state)
    try:
        return load_arrays(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read ({error})") from None


def _verify(path: Path, state: dict[str, Any]) -> None:
    """Raise RunError unless the file is the one that the checkpoint was saved with."""
    try:
        found = digest(path)
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from None
    if found != state["files"].get(path.name):
        raise RunError(f"{path} is damaged: its SHA-256 is not the one in {STATE}")
