"""Rows of a file become questions. With `shots`, examples with their right answers stand before each question.

The examples are other rows of the same file. They are drawn as lm-eval draws them, so that prompts are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llm.data.errors import DataError
from llm.data.records import Place, Record, read_records, read_text
from llm.data.streams import suffix_of
from llm.evaluation.tasks.description import Description, Shape
from llm.evaluation.tasks.template import MissingField, look_up, render, text_of

BETWEEN_SHOTS = "\n\n"
PLAIN_TEXT = (".txt", ".md")  # ends of names
SEED = 1234  # of lm-eval


@dataclass(frozen=True)
class Item:
    """A question. Which fields are filled depends on how the task is scored (description.py)."""

    place: Place
    row: Mapping[str, Any]
    contexts: tuple[str, ...]  # one for all choices, or one for each
    choices: tuple[str, ...] = ()
    label: int = 0  # the number of the right choice
    target: str = ""  # the right continuation, answer or class; or the text to be predicted
    delimiter: str = " "

    @property
    def context(self) -> str:
        return self.contexts[0]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The (context, continuation) pairs whose likelihoods decide: one for each choice, or that of the target."""
        choices = self.choices or (self.target,)
        contexts = self.contexts * (len(choices) if len(self.contexts) == 1 else 1)
        return [(context, self.delimiter + choice) for context, choice in zip(contexts, choices, strict=True)]

    @property
    def solved(self) -> str:
        """The question with its right answer, as an example for other questions."""
        return "".join(self.pairs[self.label])


@dataclass(frozen=True)
class Task:
    """A description with the items of a file."""

    name: str
    description: Description
    items: Sequence[Item]


def read_task(
    name: str, description: Description, file: str | Path, *, limit: int | None = None, shots: int = 0, seed: int = SEED
) -> Task:
    """The first `limit` items of a file, or of all .jsonl files in a folder."""
    return task_of(name, description, records_at(Path(file)), limit=limit, shots=shots, seed=seed)


def records_at(path: Path) -> list[Record]:
    """The rows of a file, or of all .jsonl files in a folder. A file of plain text is one row."""
    if not path.is_dir():
        is_text = suffix_of(path) in PLAIN_TEXT
        return [(Place(str(path), 1), {"text": read_text(path)})] if is_text else read_records(path)
    files = sorted(path.glob("*.jsonl"))
    if not files:
        raise DataError(f"the folder {path} has no .jsonl files; give a file, or the folder of such files")
    return [record for file in files for record in read_records(file)]


def task_of(
    name: str,
    description: Description,
    records: Iterable[Record | Mapping[str, Any]],
    *,
    limit: int | None = None,
    shots: int = 0,
    seed: int = SEED,
) -> Task:
    """A task from rows: records with their places, or plain rows."""
    placed = [
        each if isinstance(each, tuple) else (Place(name, number), dict(each)) for number, each in enumerate(records, 1)
    ]
    chosen = placed if limit is None else placed[:limit]
    items = [item_of(description, *record) for record in chosen]
    if shots:
        items = with_shots(items, placed, description, shots, seed)
    return Task(name, description, items)


def item_of(description: Description, place: Place, row: Mapping[str, Any]) -> Item:
    """The item of a row. DataError, with the place, if no shape fits the row, or if it is not a question."""
    for shape in description.shapes:
        try:
            return Reading(description, shape, place, row).item()
        except MissingField:
            continue
    expected = " or ".join(", ".join(fields_of(shape, description)) for shape in description.shapes)
    raise DataError(f"{place}: the row has the fields {', '.join(row) or 'nothing'}; this task needs {expected}")


@dataclass(frozen=True)
class Reading:
    """A row, to be read by a shape."""

    description: Description
    shape: Shape
    place: Place
    row: Mapping[str, Any]

    def item(self) -> Item:
        shape, contexts = self.shape, self.shape.context
        item = Item(
            self.place,
            self.row,
            tuple(map(self.text, contexts if isinstance(contexts, list) else [contexts])),
            delimiter=self.description.delimiter,
        )
        if self.description.score == "choice":
            choices = self.choices()
            if len(item.contexts) not in (1, len(choices)):
                raise DataError(f"{self.place}: there are {len(item.contexts)} contexts and {len(choices)} choices")
            return replace(item, choices=choices, label=self.label(choices))
        return replace(item, target=render(shape.target, self.row))

    def text(self, template: str) -> str:
        return self.description.cleaned(render(template, self.row))

    def choices(self) -> tuple[str, ...]:
        given = self.shape.choices
        if isinstance(given, list):
            return tuple(map(self.text, given))
        found = look_up(self.row, given)
        if not isinstance(found, list):
            raise MissingField(given)
        if len(found) < 2:
            raise DataError(f"{self.place}: {given} has {len(found)} choices; a question needs at least 2")
        return tuple(self.description.cleaned(text_of(each, given)) for each in found)

    def label(self, choices: Sequence[str]) -> int:
        """The number of the right choice, which may be given by its number, its name or its text."""
        given = self.shape.label
        value = given if isinstance(given, int) else look_up(self.row, given)
        names = self.shape.labels
        names = look_up(self.row, names) if isinstance(names, str) and names else names
        text = str(value).strip()
        known = {str(number): number for number in range(len(choices))}
        if names:
            known = {str(name): number for number, name in enumerate(names)}
        elif isinstance(value, str):  # "2" is the choice "2" if there is one, and else the third choice
            known |= {choice: number for number, choice in reversed([*enumerate(choices)])}
        number = known.get(text, known.get(self.description.cleaned(text), -1))
        if isinstance(value, (bool, list, dict)) or not 0 <= number < len(choices):
            names_of = ", ".join(map(str, names)) if names else f"0 to {len(choices) - 1}"
            raise DataError(f"{self.place}: {given} is {value!r}, which is none of the choices; expected {names_of}")
        return number


def fields_of(shape: Shape, description: Description) -> list[str]:
    """The names of the fields that a shape reads, for messages."""
    parts = [shape.context, shape.choices] if description.score == "choice" else [shape.context, shape.target]
    templates = [each for part in parts for each in (part if isinstance(part, list) else [part])]
    names = [piece.split("}")[0].split("|")[0] for each in templates for piece in each.split("{")[1:]]
    if description.score == "choice":
        names += [each for each in (shape.choices, shape.label) if isinstance(each, str)]
    return list(dict.fromkeys(names))


def with_shots(
    items: Sequence[Item], records: Sequence[Record], description: Description, shots: int, seed: int
) -> list[Item]:
    """The items with `shots` examples before each, drawn from all records but the item itself."""
    if shots >= len(records):
        raise DataError(f"--shots {shots} needs more than {shots} rows, and there are {len(records)}")

    @cache
    def example(number: int) -> str:
        return item_of(description, *records[number]).solved + BETWEEN_SHOTS

    rng, found = Random(seed), []
    for item in items:
        before = "".join(map(example, draw_others(rng, item, records, shots)))
        found.append(replace(item, contexts=tuple(before + context for context in item.contexts)))
    return found


def draw_others(rng: Random, item: Item, records: Sequence[Record], shots: int) -> list[int]:
    """The numbers of `shots` records that are not the item."""
    drawn = rng.sample(range(len(records)), shots + 1)
    others = [number for number in drawn if records[number][1] != item.row][:shots]
    if len(others) == shots:
        return others
    pool = [number for number, (_, row) in enumerate(records) if row != item.row]  # some rows are in the file twice
    if len(pool) < shots:
        raise DataError(f"{item.place}: --shots {shots} needs as many rows that are not the same as this one")
    return rng.sample(pool, shots)
