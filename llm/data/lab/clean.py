"""The command `python -m llm.data clean`: documents of any form in, edited and judged, JSON lines out.

Its output is a function of its input and options alone. A process that was killed goes on where its state was saved;
what it had written after that is cut off and written again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from llm.console import escaped, say
from llm.data.lab.account import Account
from llm.data.lab.folder import LabFolder, account_of, is_done, open_folder, written
from llm.data.lab.inputs import MEGABYTE, bytes_of, fingerprint, input_files, is_size
from llm.data.lab.pipeline import Outcome, outcomes
from llm.data.lab.verdict import Step
from llm.data.lab.workers import workers
from llm.data.problems import Problem
from llm.data.reading import FORMS, read_file
from llm.data.rows import LONGEST, Item, Reading
from llm.data.streams import COMPRESSED, STANDARD_INPUT
from llm.runs.parsing import DEFAULT_IN_TEXT

SAVE_SECONDS = 10.0  # between two states from which the work can go on

Position = tuple[int, int]  # a file, and how many documents and problems of it are done


@dataclass(frozen=True)
class Clean:
    """Edit documents, and drop those that a rule does not accept. All are written, with the rule that dropped them."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IN ...")] = ()
    """Files, folders, patterns, or "-" for standard input: text, JSON lines, CSV, TSV, Parquet, HTML; also compressed
    with gzip or Zstandard.
    """
    out: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """The folder that is written. If the work was killed, the same command goes on with it (with "-", if the same text
    comes again).
    """
    preset: str = "gopher"
    """Presets, rules and edits by their names, with commas between them, in order. none: no rules."""
    threshold: Annotated[tuple[str, ...], tyro.conf.arg(metavar="RULE=NUMBER")] = ()
    """Other thresholds than the usual ones."""
    words: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """A file of words, one in a line: a document with one of them is dropped. This comes after the rules."""
    filter: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE")] = ()
    """Filters that `train-filter` has learned, which come last."""
    field: str = "text"
    """The field of a row that holds its text."""
    form: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """text, jsonl, json, csv, tsv, parquet or html. Default: as the names of the files say."""
    longest: float = LONGEST / MEGABYTE
    """Megabytes of the longest document. It is in memory as a whole; a longer one is a problem that is counted."""
    shard: float = 256
    """Megabytes of a file that is written. Then the next one begins."""
    processes: int = 1
    """How many processes judge the texts. It does not change what is written."""
    mpi: bool = False
    """Use the processes of MPI: mpiexec -n 8 python -m mpi4py.futures -m llm.data ..."""
    rules: tyro.conf.FlagCreatePairsOff[bool] = False
    """Only list all rules, edits and presets."""

    def __post_init__(self) -> None:
        if self.rules:
            return
        if not self.inputs or not self.out:
            raise ValueError("give the documents and the folder to write: clean IN ... --out FOLDER")
        if not (is_size(self.longest) and is_size(self.shard) and self.processes > 0):
            raise ValueError("longest=, shard= and processes= must be more than 0, and finite")
        if self.form is not None and self.form not in FORMS:
            raise ValueError(f"form={self.form} is not known; choose one of {', '.join(FORMS)}")

    def start(self) -> None:
        if self.rules:
            from llm.data.lab.rules import describe

            print(describe())
        else:
            print(escaped(str(clean(self)), sys.stdout))
            say(written(str(self.out)))

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the output."""
        names = ("inputs", "preset", "threshold", "words", "filter", "field", "form", "longest", "shard")
        return {name: getattr(self, name) for name in names}

    @property
    def steps(self) -> tuple[Any, ...]:
        """The arguments of `find_steps`."""
        return self.preset, self.threshold, self.words, self.filter

    @property
    def files(self) -> list[str]:
        """What the steps are made from."""
        return [os.path.expanduser(path) for path in (self.words, *self.filter) if path is not None]


def clean(options: Clean) -> Account:
    """Do the work of the command, or what is left of it. Returns the account."""
    out = Path(options.out or "").expanduser()
    if is_done(out):
        return account_of(out, options.recipe)
    steps = find_steps(*options.steps)  # what is wrong with them is told before anything is written
    files = input_files(options.inputs, out)
    recipe = {**options.recipe, "input files": fingerprint([*files, *options.files])}
    with open_folder(out, recipe, bytes_of(options.shard)) as folder:
        _go_on(files, steps, folder, options)
        folder.finish("clean", options.recipe)
    return folder.account


def _go_on(files: Sequence[str], steps: Sequence[Step], folder: LabFolder, options: Clean) -> None:
    """Do what is not done yet: all of the work, if it is new."""
    position: Position = (0, 0)
    if folder.state:
        position = tuple(folder.state["position"])
        say(f"{folder.folder}: going on after {folder.account.documents['in']:,} documents")
    reading = Reading(options.field, bytes_of(options.longest), options.form)
    items = items_from(files, position, reading)
    with workers(options.processes, mpi=options.mpi) as run:
        _write(outcomes(items, steps, run), folder, _total_bytes(files))


def find_steps(preset: str, thresholds: Sequence[str], words: str | None, filters: Sequence[str]) -> list[Step]:
    """The steps that the options name. Raises ValueError for what is not known."""
    from llm.data.lab.choice import choose_steps  # here: its import takes time that `--help` does not need

    return choose_steps(preset, thresholds, words, filters)


def items_from(files: Sequence[str], begin: Position, reading: Reading) -> Iterator[tuple[Position, Item]]:
    """The documents and problems of all files from a position on, each with the position after it."""
    for number in range(begin[0], len(files)):
        for count, item in enumerate(read_file(files[number], reading), 1):
            if (number, count) > begin:
                yield (number, count), item


def _write(found: Iterator[list[tuple[Position, Item, Outcome | None]]], folder: LabFolder, total: int | None) -> None:
    saved, account = time.monotonic(), folder.account
    with tqdm(total=total, unit="B", unit_scale=True, disable=None, file=sys.stderr) as bar:
        bar.update(account.bytes["in"])
        for batch in found:
            for _, item, outcome in batch:
                _write_one(item, outcome, folder)
            bar.update(account.bytes["in"] - bar.n)
            if time.monotonic() - saved > SAVE_SECONDS:
                folder.save(position=batch[-1][0])
                saved = time.monotonic()


def _write_one(item: Item, outcome: Outcome | None, folder: LabFolder) -> None:
    if isinstance(item, Problem):
        folder.problem(item)
    else:
        assert outcome is not None
        folder.document(item, outcome.verdicts, outcome.text, outcome.edits)


def _total_bytes(files: Sequence[str]) -> int | None:
    """The bytes of all files; None if that is not the size of the texts in them."""
    if any(path == STANDARD_INPUT or path.endswith((*COMPRESSED, ".parquet")) for path in files):
        return None
    return sum(os.path.getsize(path) for path in files if os.path.isfile(path))
