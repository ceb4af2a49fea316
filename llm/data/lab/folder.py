"""The folder that `clean` and `dedup` write:

kept-00000.jsonl ...       a row for each document: {"text": ..., "source": where it was read, its other fields}
dropped-00000.jsonl ...    the same, with "dropped": {"rule", "number", "threshold"}
problems-00000.jsonl ...   what could not be read: {"problem", "source", "message"}
report.json                the account, when all is done
state.json                 how far the work is, until it is done
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import minigrad
from llm.console import say
from llm.data.documents import Document
from llm.data.errors import DataError
from llm.data.lab.account import NO_EDITS, Account
from llm.data.lab.verdict import Verdict
from llm.data.names import STATE
from llm.data.problems import Problem
from llm.runs.files import locked, make_folder, read_json, write_json
from tokenizer.formats import atomic

REPORT = "report.json"
KINDS = ("kept", "dropped", "problems")
BUFFER = 1 << 20
RESERVED = ("text", "source", "dropped")  # names of a row that are not those of its fields


def row_of(document: Document, **more: Any) -> dict[str, Any]:
    """The row of a document. A field that has a name of ours gets an underscore: "source" becomes "source_"."""
    row = {"text": document.text, "source": document.source, **more}
    for name, value in document.fields.items():
        if name in RESERVED:
            name += "_"
        while name in row:
            name += "_"
        row[name] = value
    return row


def encode_row(row: Mapping[str, Any]) -> bytes:
    """A line of JSON. What JSON does not have, such as a date, becomes text."""
    try:
        return json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n"
    except UnicodeEncodeError:  # half of a character of two parts, in a field
        return json.dumps(row, default=str).encode() + b"\n"


class Shards:
    """Rows in files NAME-00000.jsonl, NAME-00001.jsonl ...; the next one begins when one has `most` bytes."""

    def __init__(self, folder: Path, name: str, most: int, number: int = 0, size: int = 0):
        """`number` and `size`: the file that was written last, and how much of it stays."""
        self._folder, self._name, self._most, self.number = folder, name, most, number
        for path in folder.glob(f"{name}-*.jsonl"):
            if path.name > self._path.name:  # written after the state was saved
                path.unlink()
        if size and (not self._path.exists() or self._path.stat().st_size < size):
            raise DataError(f"{self._path} is not as it was written; delete the folder {folder} to begin again")
        if self._path.exists():
            os.truncate(self._path, size)  # before it is opened: that sets the position to the end of the file
        self._file = open(self._path, "ab", BUFFER)  # noqa: SIM115  closed by `close`

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._name}-{self.number:05}.jsonl"

    def write(self, row: Mapping[str, Any]) -> None:
        if self._file.tell() >= self._most:
            self.flush()
            self.close()
            self.number += 1
            self._file = open(self._path, "wb", BUFFER)  # noqa: SIM115
        self._file.write(encode_row(row))

    def flush(self) -> tuple[int, int]:
        """Write all to the disk. Returns the number of the file, and its size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self.number, self._file.tell()

    def close(self) -> None:
        self._file.close()


class LabFolder:
    """The three kinds of shards, and the state from which the work goes on after a kill."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], shard_bytes: int):
        self.folder, self._recipe = folder, dict(recipe)
        atomic.remove_partial(folder)  # of a process that was killed while it saved the state
        self.state = self._read_state()
        sizes = (self.state or {}).get("shards", {})
        self._shards = {kind: Shards(folder, kind, shard_bytes, *sizes.get(kind, (0, 0))) for kind in KINDS}
        self.account = Account.from_json(self.state["account"]) if self.state else Account()

    def _read_state(self) -> dict[str, Any] | None:
        """What `save` has written; None at the beginning."""
        if not (self.folder / STATE).exists():
            others = [path.name for path in self.folder.iterdir() if not path.name.startswith(".")]
            if others:
                raise DataError(f"{self.folder} has other files, such as {min(others)}; give another --out")
            write_json(self.folder / STATE, {"recipe": self._recipe})
            return None
        try:
            state = read_json(self.folder / STATE)
        except ValueError as error:
            raise DataError(f"{self.folder / STATE}: {error}; delete the folder to begin again") from None
        self._compare_recipes(state.get("recipe"))
        return state if "shards" in state else None

    def _compare_recipes(self, begun: Any) -> None:
        """Raise DataError if the work was begun with other options, or other files."""
        if (mine := json.loads(json.dumps(self._recipe))) != begun:
            changed = [name for name in mine if mine[name] != (begun or {}).get(name)]
            raise DataError(
                f"{self.folder} was begun with other {' and '.join(changed) or 'options'}; give the same ones to go "
                "on, or another --out"
            )

    def document(
        self,
        document: Document,
        verdicts: Sequence[Verdict] = (),
        edited: str | None = None,
        edits: Mapping[str, int] = NO_EDITS,
        **more: Any,
    ) -> None:
        """Count and write a document: edited, if it is kept. If the last verdict drops it, with its own text, because
        edits may have removed what the rule did not accept; with the verdict; and with `more`.
        """
        if verdict := self.account.document(document.text, verdicts, edited, edits):
            reason = {"rule": verdict.rule, "number": verdict.number, "threshold": verdict.threshold}
            self._shards["dropped"].write(row_of(document, dropped=reason, **more))
        else:
            row = row_of(document)
            self._shards["kept"].write(row if edited is None else {**row, "text": edited})

    def problem(self, problem: Problem) -> None:
        """Count and write what could not be read."""
        self.account.problem(problem)
        row = {"problem": problem.name, "source": problem.place, "message": problem.message}
        self._shards["problems"].write(row)

    def save(self, **position: Any) -> None:
        """From now on, the work goes on from here if it is killed."""
        shards = {kind: shards.flush() for kind, shards in self._shards.items()}
        state = {"recipe": self._recipe, "shards": shards, **position, "account": self.account.to_json()}
        write_json(self.folder / STATE, state)

    def finish(self, command: str, options: Mapping[str, Any], **more: Any) -> None:
        """Write report.json. The folder is whole then."""
        for shards in self._shards.values():
            shards.flush()
        report = {"command": command, "options": options, **self.account.to_json(), **more}
        write_json(self.folder / REPORT, {"version": minigrad.__version__, **report})
        (self.folder / STATE).unlink()

    def close(self) -> None:
        for shards in self._shards.values():
            shards.close()


@contextmanager
def open_folder(path: str | Path, recipe: Mapping[str, Any], shard_bytes: int) -> Iterator[LabFolder]:
    """A new folder, or one in which the same work has begun. Raises DataError if another program works in it."""
    folder = Path(path).expanduser()
    make_folder(folder)
    try:
        with locked(folder):
            opened = LabFolder(folder, recipe, shard_bytes)
            try:
                yield opened
            finally:
                opened.close()
    except BlockingIOError:
        raise DataError(f"another program is writing to {folder}; wait for it, or give another --out") from None


def written(out: str | Path) -> str:
    """The last message of a command."""
    return f"written: {out}; a page about it: {shlex.join(['python', '-m', 'llm.data', 'show', str(out)])}"


def is_done(out: Path) -> bool:
    """Whether it is a folder with all of its work."""
    return (out / REPORT).exists() and not (out / STATE).exists()


def account_of(out: Path, recipe: dict[str, Any]) -> Account:
    """The account of work that is done already."""
    try:
        report = read_json(out / REPORT)
        account = Account.from_json(report)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{out / REPORT} is no report of this command ({error}); give another --out") from None
    if report.get("options") != {name: list(v) if isinstance(v, tuple) else v for name, v in recipe.items()}:
        raise DataError(f"{out} is done, with other options; give another --out")
    say(f"{out} is done already; delete it to do it again")
    return account
