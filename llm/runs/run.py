"""The folder of a run, which other tools can open and a kill at any instant cannot harm.

    config.json  tokenizer.json                     what was asked for
    metrics.jsonl  loss.png  profile.svg            how it went (profile.svg: with --profile)
    checkpoints/step-00000500/                      model.safetensors, optimizer.safetensors, state.json
    model.safetensors  optimizer.safetensors  state.json        the newest checkpoint's, under a second name

A checkpoint is made beside its place, with the SHA-256 of its files in state.json, forced to the disk and renamed: it
is there whole or not at all. The two newest and the one with the best validation loss are kept. No pickle anywhere.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llm.runs.files import digest, link_file, locked, new_folder, read_json, remove_partial, write_json
from llm.runs.options import Options
from tokenizer import BaseTokenizer
from tokenizer import load as load_tokenizer

CONFIG, TOKENIZER, METRICS, PICTURE, PROFILE = (
    "config.json",
    "tokenizer.json",
    "metrics.jsonl",
    "loss.png",
    "profile.svg",
)
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
STATE_KEYS = {"step", "best_step", "best_loss", "skipped", "elapsed", "data", "files"}
KEEP = 2  # newest checkpoints; should the last one be damaged, there is another


class RunError(ValueError):
    """A run that cannot be used; the message is a sentence for the person at the terminal."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run has stored at a step: arrays by name, and the plain values of state.json (STATE_KEYS)."""

    weights: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    state: dict[str, Any]
    problems: tuple[str, ...] = ()  # newer checkpoints that could not be used

    @property
    def step(self) -> int:
        return self.state["step"]


class Run:
    """A run's folder."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.checkpoints = self.folder / "checkpoints"

    def __str__(self) -> str:
        return str(self.folder)

    # --- beginning ------------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether a run has begun here."""
        return (self.folder / CONFIG).exists()

    def check_free(self) -> None:
        """Raise RunError when a new run would replace something here. (What is left of a run killed at its beginning is
        nothing.)
        """
        if self.exists:
            raise RunError(f"{self} holds a run already; add --resume to go on with it, or choose another --out")
        in_the_way = [
            path for name in (MODEL, OPTIMIZER, STATE, METRICS) if (path := self.folder / name).exists()
        ] + self._saved()
        if in_the_way:
            raise RunError(
                f"{self} has no {CONFIG} but holds {in_the_way[0].relative_to(self.folder)}, which a new run would "
                "replace; "
                f"put the {CONFIG} of that run back, or choose another --out"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if need be, and keep other processes from training here meanwhile. Raises RunError when one
        already does.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self} cannot be the folder of a run ({error.strerror}); choose another --out") from None
        try:
            with locked(self.folder):
                try:
                    yield
                finally:
                    with suppress(OSError):
                        self.folder.rmdir()  # succeeds only when it is empty: nothing came of it
        except BlockingIOError:
            raise RunError(f"another process is training in {self}; wait for it, or choose another --out") from None

    def begin(self, options: Options, tokenizer: BaseTokenizer) -> None:
        """Create the files of a new run. config.json comes last: with it, the run exists."""
        self.check_free()
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        tokenizer.save(self.folder / TOKENIZER)
        self.write_options(options)

    def write_options(self, options: Options) -> None:
        write_json(self.folder / CONFIG, options.to_json())

    def options(self) -> Options:
        path = self.folder / CONFIG
        try:
            return Options.from_json(read_json(path))
        except ValueError as error:
            raise RunError(
                f"{path} is not the configuration of a run ({error}); put the right one back, or give another run"
            ) from None

    def tokenizer(self) -> BaseTokenizer:
        """The tokenizer of the run. Raises ValueError or OSError when the file is missing or damaged."""
        return load_tokenizer(self.folder / TOKENIZER)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, whole or not at all, and drop those no longer needed.

        Raises RunError when the disk does not take it; the checkpoints there are stay good.
        """
        state, place = checkpoint.state, self._place(checkpoint.step)
        try:
            self.checkpoints.mkdir(exist_ok=True)
            shutil.rmtree(
                place, ignore_errors=True
            )  # it was damaged, or training would not have gone back to before it
            with new_folder(place) as partial:
                save_file(checkpoint.weights, partial / MODEL)
                save_file(checkpoint.optimizer, partial / OPTIMIZER)
                files = {
                    path.name: digest(path) for path in (partial / MODEL, partial / OPTIMIZER, self.folder / TOKENIZER)
                }
                write_json(partial / STATE, {**state, "files": files})
            self.link(state["step"])
            self._prune(state["step"], state["best_step"])
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"the checkpoint of step {state['step']} could not be written to {self} ({error}); make room there, "
                "and go on "
                f"from the one before with --resume"
            ) from error

    def link(self, step: int) -> None:
        """Give the files of a checkpoint their second name."""
        if (place := self._place(step)).exists():
            for name in (MODEL, OPTIMIZER, STATE):
                link_file(place / name, self.folder / name)

    def clean(self) -> None:
        """Delete what a killed process left half-made; only while the run is locked."""
        remove_partial(self.folder)
        remove_partial(self.checkpoints)

    def load(self, which: str = "last", optimizer: bool = True) -> Checkpoint | None:
        """The "last" checkpoint that is whole, or the "best" one by validation loss; None if none was ever made.

        `optimizer=False` leaves the state of the optimizer unread, twice the size of the weights. Raises RunError when
        there are checkpoints, but none can be used.
        """
        problems: list[str] = []
        copied = (
            [self.folder] if (self.folder / STATE).exists() else []
        )  # all there is, when only these files were copied
        for folder in [*self._saved(), *copied]:
            try:
                last = _read_checkpoint(folder, optimizer)
            except RunError as error:
                problems.append(str(error))
                continue
            _verify(self.folder / TOKENIZER, last.state)
            return replace(last if which == "last" else self._best(last, optimizer), problems=tuple(problems))
        if problems:
            raise RunError("; ".join(problems) + "; no checkpoint is left to go back to")
        return None

    def _best(self, last: Checkpoint, optimizer: bool) -> Checkpoint:
        best = last.state["best_step"]
        if not best:
            raise RunError(
                f"{self} was not evaluated before step {last.step}, so no checkpoint is the best; use the last one"
            )
        return last if best == last.step else _read_checkpoint(self._place(best), optimizer)

    def _place(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}"

    def _saved(self) -> list[Path]:
        """Folders of checkpoints, newest first."""
        return sorted(self.checkpoints.glob("step-" + 8 * "[0-9]"), reverse=True)

    def _prune(self, step: int, best: int) -> None:
        """Keep the newest up to `step` and the best. Those beyond `step` were damaged, as in `save`."""
        past = [folder for folder in self._saved() if folder <= self._place(step)]
        for folder in self._saved():
            if folder not in past[:KEEP] and folder != self._place(best):
                shutil.rmtree(folder, ignore_errors=True)


def newest_run(folder: str | Path = "runs") -> Run:
    """The run below `folder` that was worked on last. Raises RunError if there is none."""
    runs = [config.parent for config in Path(folder).glob(f"*/{CONFIG}")]
    if not runs:
        raise RunError(f"there is no run in {folder}/ yet; start one with: python train.py")
    return Run(
        max(runs, key=lambda run: max(os.path.getmtime(path) for path in (run / CONFIG, run / STATE) if path.exists()))
    )


def new_run(preset: str, folder: str | Path = "runs") -> Run:
    """A folder for a new run, PRESET-1 or the next free number."""
    number = 1
    while (place := Path(folder) / f"{preset}-{number}").exists():
        number += 1
    return Run(place)


def _read_checkpoint(folder: Path, optimizer: bool) -> Checkpoint:
    path = folder / STATE
    try:
        state = read_json(path)
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None
    if not state.keys() >= STATE_KEYS or not isinstance(state["files"], dict):
        raise RunError(f"{path} is not the state of a checkpoint; it needs {', '.join(sorted(STATE_KEYS))}")
    return Checkpoint(
        _read_arrays(folder / MODEL, state), _read_arrays(folder / OPTIMIZER, state) if optimizer else {}, state
    )


def _read_arrays(path: Path, state: dict[str, Any]) -> dict[str, np.ndarray]:
    _verify(path, state)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read ({error})") from None


def _verify(path: Path, state: dict[str, Any]) -> None:
    """Raise RunError unless the file is the one that a checkpoint was saved with."""
    try:
        found = digest(path)
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from None
    if found != state["files"].get(path.name):
        raise RunError(f"{path} is damaged: its SHA-256 is not the one in {STATE}")
