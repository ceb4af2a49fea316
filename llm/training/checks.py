"""Checks before the first step: a problem that is found here costs no hours of training."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from llm.console import NO_ROOM
from llm.runs.errors import RunError
from llm.runs.options import Options, TrainOptions
from llm.runs.parsing import flag
from llm.runs.tuning_options import BELONGS_TO
from minigrad.profiler.table import size
from tokenizer import BaseTokenizer
from tokenizer.formats.atomic import PARTIAL
from tokenizer.models.char import UnknownCharacter


def check_prompt(tokenizer: BaseTokenizer, prompt: str) -> None:
    """Raise ValueError if the tokenizer cannot encode the prompt of the samples."""
    try:
        tokenizer.encode_ordinary(prompt)
    except UnknownCharacter as error:
        raise ValueError(
            f"{error.character!r} in --prompt is not among the {error.known} characters of the tokenizer; leave it "
            "out, or use --tokenizer bpe"
        ) from None


def check_objective(options: Options) -> None:
    """Raise ValueError if an objective lacks the model or the data that it needs."""
    training, is_text = options.training, options.training.objective == "text"
    if training.objective == "translate":
        check_translation(options)
    elif training.from_ is None and (options.tuning.has_adapters or not is_text):
        given = f"--objective {training.objective} tunes" if not is_text else "adapters tune"
        raise ValueError(f"{given} a model that is trained already; give its path as --from")
    if not is_text and training.data == TrainOptions().data:
        raise ValueError(f"--objective {training.objective} learns from rows of a file; give it as --data FILE")
    if (name := options.tuning.foreign(training.objective)) is not None:
        raise ValueError(
            f"{flag(name)} is for --objective {' and '.join(BELONGS_TO[name])}, and this one is {training.objective}; "
            "leave it out"
        )


def check_translation(options: Options) -> None:
    """Raise ValueError for what an encoder and a decoder, which are trained from the start, do not go with."""
    tuning = options.tuning
    others = {"--from": options.training.from_ is not None, "adapters": tuning.has_adapters, "--freeze": tuning.freeze}
    others["--eval-task"] = bool(options.training.eval_task)
    if given := [name for name, is_given in others.items() if is_given]:
        raise ValueError(f"--objective translate trains a new model, and does not go with {given[0]}; leave that out")


def problems_of_schedule(training: TrainOptions) -> list[str]:
    """A sentence if the learning rate would never fall, although the schedule has a decay."""
    if training.schedule == "constant" or training.warmup < training.steps:
        return []
    return [
        f"the learning rate only rises, because --warmup {training.warmup} is not less than --steps {training.steps}; "
        "give a smaller --warmup"
    ]


def check_room(folder: Path, sizes: Sequence[int]) -> None:
    """Raise RunError if the disk has no room for files of these sizes, in bytes. Nothing is left in the folder."""
    try:
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder) as place:
            for number, nbytes in enumerate(sizes):
                reserve(Path(place) / str(number), nbytes)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise RunError(
                f"there is no room in {folder} for a checkpoint, which needs {size(sum(sizes))} "
                f"({error.strerror}); make room there, or choose another --out"
            ) from None
        # Any other error: this file system cannot reserve room. The first checkpoint will show whether there is enough.


def reserve(path: Path, nbytes: int) -> None:
    """Create a file, and reserve room for `nbytes` bytes without writing them, if the system can do that."""
    with open(path, "wb") as file:
        if nbytes and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, nbytes)
