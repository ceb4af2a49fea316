"""The folder of a run, which other tools can open and a kill at any instant cannot harm.

    config.json  tokenizer.json                     what was asked for
    metrics.jsonl  loss.png                         how it went
    checkpoints/step-00000500/                      model.safetensors, optimizer.safetensors, state.json
    model.safetensors  optimizer.safetensors  state.json        the newest checkpoint's, under a second name

A checkpoint is written beside its place, with the SHA-256 of each of its files in state.json, forced to the disk and renamed: it is there
whole or not at all. The two newest and the one with the best validation loss are kept. No pickle anywhere.
"""
from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import tokenizer
from llm.files import digest, link_file, new_folder, remove_partial, write_file
from llm.training.options import Options

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
KEEP = 2                # newest checkpoints; should the last one be damaged, there is another


class RunError(ValueError):
    """A run that cannot be used; the message is a sentence for the person at the terminal."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run has stored at a step: arrays by name, and the plain values of state.json ("step", "best_step", ...)."""

    weights: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    state: dict[str, Any]
    complaints: tuple[str, ...] = ()        # newer checkpoints that could not be used

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

    @property
    def exists(self) -> bool:
        """Whether a run has begun here."""
        return (self.folder / "config.json").exists()

    def begin(self, options: Options, tokens: Any) -> None:
        """Lay out a new run; `tokens` is its tokenizer. config.json comes last: with it the run exists."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        tokens.save(self.folder / "tokenizer.json")
        write_file(self.folder / "config.json", json.dumps(options.to_json(), indent=2) + "\n")

    def clean(self) -> None:
        """Delete what a killed process left half-written; only for the one process that trains this run."""
        remove_partial(self.folder)
        remove_partial(self.checkpoints)

    def options(self) -> Options:
        path = self.folder / "config.json"
        try:
            return Options.from_json(_read_json(path))
        except ValueError as error:
            raise RunError(f"{path} is not the configuration of a run ({error}); give the folder of another run") from None

    def tokenizer(self) -> Any:
        """The tokenizer of the run. Raises ValueError when the file is missing or damaged."""
        return tokenizer.load(self.folder / "tokenizer.json")

    def save(self, weights: dict[str, np.ndarray], optimizer: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        """Store a checkpoint for `state["step"]`, whole or not at all, and drop those no longer needed."""
        place = self.checkpoints / f"step-{state['step']:08d}"
        with new_folder(place) as partial:
            save_file(weights, partial / MODEL)
            save_file(optimizer, partial / OPTIMIZER)
            files = {name: digest(partial / name) for name in (MODEL, OPTIMIZER)}
            write_file(partial / STATE, json.dumps({**state, "files": files}, indent=2) + "\n")
        for name in (MODEL, OPTIMIZER, STATE):
            link_file(place / name, self.folder / name)
        self._prune(best=state["best_step"])

    def _prune(self, best: int) -> None:
        for folder in self._saved()[KEEP:]:
            if folder.name != f"step-{best:08d}":
                shutil.rmtree(folder)

    def _saved(self) -> list[Path]:
        """Folders of checkpoints, newest first."""
        return sorted(self.checkpoints.glob("step-*"), reverse=True)

    def load(self, which: str = "last", optimizer: bool = True) -> Checkpoint | None:
        """The "last" checkpoint that is whole, or the "best" one by validation loss; None if none was ever made.

        `optimizer=False` leaves the state of the optimizer unread, twice the size of the weights. Raises RunError when there are
        checkpoints, but none can be used.
        """
        complaints: list[str] = []
        copied = [self.folder] if (self.folder / STATE).exists() and not self._saved() else []     # a folder without checkpoints/
        for folder in [*self._saved(), *copied]:
            try:
                found = _read_checkpoint(folder, optimizer)
            except RunError as error:
                complaints.append(str(error))
                continue
            if which == "best" and not found.state["best_step"]:
                raise RunError(f"{self} was not evaluated before step {found.step}, so no checkpoint is the best; use the last one")
            if which == "best" and found.state["best_step"] != found.step and not copied:
                found = _read_checkpoint(self.checkpoints / f"step-{found.state['best_step']:08d}", optimizer)
            return replace(found, complaints=tuple(complaints))
        if complaints:
            raise RunError("; ".join(complaints) + "; no checkpoint is left to go back to")
        return None


def newest_run(folder: str | Path = "runs") -> Run:
    """The run below `folder` that was worked on last. Raises RunError if there is none."""
    runs = [config.parent for config in Path(folder).glob("*/config.json")]
    if not runs:
        raise RunError(f"there is no run in {folder}/ yet; start one with: python train.py")
    return Run(max(runs, key=lambda run: max(os.path.getmtime(path) for path in (run / "config.json", run / STATE) if path.exists())))


def new_run(preset: str, folder: str | Path = "runs") -> Run:
    """A folder for a new run, PRESET-1 or the next free number."""
    number = 1
    while (place := Path(folder) / f"{preset}-{number}").exists():
        number += 1
    return Run(place)


def _read_checkpoint(folder: Path, optimizer: bool) -> Checkpoint:
    state = _read_json(folder / STATE)
    if not isinstance(state, dict) or not {"step", "best_step", "files"} <= state.keys():
        raise RunError(f"{folder / STATE} is not the state of a checkpoint")
    return Checkpoint(_read_arrays(folder / MODEL, state), _read_arrays(folder / OPTIMIZER, state) if optimizer else {}, state)


def _read_arrays(path: Path, state: dict) -> dict[str, np.ndarray]:
    try:
        if digest(path) != state["files"][path.name]:
            raise RunError(f"{path} is damaged: its SHA-256 is not the one in {STATE}")
        return load_file(path)
    except (OSError, SafetensorError, KeyError) as error:
        raise RunError(f"{path} cannot be read ({error})") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error})") from None
