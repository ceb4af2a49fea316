"""What a task is: how a row of its file becomes a question, and how the model's answer to it is scored. Data, no code.

    {"score": "choice", "shapes": [{"context": "{question}\\nAnswer:", "choices": "options", "label": "answer"}]}

This is the whole description of a task with rows such as {"question": "...", "options": ["...", "..."], "answer": 1}.
It can be given as a file: --task mine.json=rows.jsonl. known.py has the descriptions that come with this project.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from llm.data.errors import DataError
from llm.evaluation.tasks import template

Score = Literal["choice", "continuation", "answer", "classes", "text"]

# What can be measured of each item, by the way in which it is scored. The first one is the main measure.
MEASURES: dict[Score, tuple[str, ...]] = {
    "choice": ("acc", "acc_norm", "acc_bytes"),
    "continuation": ("acc", "perplexity"),
    "answer": ("acc",),
    "classes": ("acc",),
    "text": ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"),
}

BY_PAIRS: tuple[Score, ...] = ("choice", "continuation")  # scored by how likely a text is after another


# Names in the results of a task (results.py), which no way to extract an answer can have.
RESERVED = {
    "n", "stderr", "interval", "chance", "baselines", "groups", "calibration", "lines", "correct", "loglikelihoods",
    "labels", "greedy", "tokens", "words", "bytes", "answers", "against", "difference", "loglikelihood",
    *(name for names in MEASURES.values() for name in names),
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Where the parts of a question are in a row. A row is read by the first shape whose fields it has."""

    context: str | list[str] = ""  # a template; a list: one for each choice
    choices: str | list[str] = ""  # the name of a field with a list of texts, or a template for each choice
    label: str | int = "label"  # a field: the number of the right choice, its name or its text; a number: of all rows
    labels: str | list[str] = ""  # names of the choices, such as A to D: a list, or a field with one
    target: str = ""  # continuation, answer, text: a template of what is right; classes: of the name of the class

    def __post_init__(self) -> None:
        for name in ("context", "target", "choices"):
            given = getattr(self, name)
            for each in given if isinstance(given, list) else [given]:
                template.check(each)

    def check(self, score: Score) -> None:
        """Raise ValueError if it describes no question that can be scored in this way."""
        if isinstance(self.context, list) and (score != "choice" or not self.context):
            raise ValueError('"context" can be a list only if it has a text for each of the choices')
        if score == "choice" and len(self.choices) < (2 if isinstance(self.choices, list) else 1):
            raise ValueError('"choices" must be the name of a field, or a list of at least 2 texts')
        if score != "choice" and not self.target:
            raise ValueError('"target" is missing: say what is right')


@dataclass(frozen=True)
class Extract:
    """Which part of an answer counts: a match of a regular expression. Of a match with groups, the first that is not
    empty.
    """

    pattern: str
    which: int = 0  # 0: the first match, -1: the last one

    def __call__(self, answer: str) -> str | None:
        try:
            found = re.findall(self.pattern, answer)[self.which]
        except IndexError:
            return None
        return (found if isinstance(found, str) else next(filter(None, found), "")).strip()


@dataclass(frozen=True)
class Description:
    """A task. `--task mine.json=...` reads one from a file."""

    score: Score
    shapes: tuple[Shape, ...]
    metrics: tuple[str, ...] = ()  # of MEASURES; default: all
    delimiter: str = " "  # between a context and what follows it
    replace: tuple[tuple[str, str], ...] = ()  # regular expressions and what replaces them in contexts and choices
    group: str = ""  # a field of rows, by which the score is divided too
    # For answers only:
    max_tokens: int = 256
    stop: tuple[str, ...] = ()  # an answer ends before one of these
    match: Literal["exact", "regex"] = "exact"  # regex: the target is an expression that the answer must contain
    extract: Mapping[str, Extract] = field(default_factory=dict)  # by name: each is scored; the first one is "acc"
    ignore: tuple[str, ...] = ()  # regular expressions, which are removed from answer and target

    def __post_init__(self) -> None:
        for pattern in (*self.ignore, *(each.pattern for each in self.extract.values())):
            check_pattern(pattern)
        for pattern, replacement in self.replace:
            check_pattern(pattern, replacement)
        if unknown := {*self.metrics} - {*self.possible}:
            raise ValueError(f'"metrics" has {", ".join(sorted(unknown))}; possible: {", ".join(self.possible)}')
        if taken := RESERVED.intersection(self.extract):
            raise ValueError(f'"extract" has the name {min(taken)!r}, which results have already; give another one')
        if self.max_tokens < 1:
            raise ValueError(f'"max_tokens" must be at least 1, got {self.max_tokens}')
        if not self.shapes:
            raise ValueError('"shapes" is empty; expected at least one')
        for shape in self.shapes:
            shape.check(self.score)

    @property
    def possible(self) -> tuple[str, ...]:
        """What can be measured."""
        return (*MEASURES[self.score], *self.extract)

    @property
    def measures(self) -> tuple[str, ...]:
        return self.metrics or self.possible

    def cleaned(self, text: str) -> str:
        for pattern, replacement in self.replace:
            text = re.sub(pattern, replacement, text)
        return text


def check_pattern(pattern: str, replacement: str = "") -> None:
    """Raise ValueError for what is no regular expression, or no replacement of its matches."""
    try:
        re.sub(pattern, replacement, "")
    except (re.error, IndexError) as error:  # IndexError: a group of a name that there is not
        wrong = f"{pattern!r} is not a regular expression"
        if replacement:
            wrong = f"{pattern!r} cannot be replaced by {replacement!r}"
        raise ValueError(f"{wrong}: {error}") from None


def from_dict(data: Any, name: str) -> Description:
    """A description from plain values. Raises DataError, which begins with `name`, if it is none."""
    try:
        known = {each.name for each in fields(Description)}
        if not isinstance(data, dict) or not known.issuperset(data) or not {"score", "shapes"} <= set(data):
            raise ValueError(f"expected an object with score, shapes, and some of {', '.join(sorted(known))}")
        shapes = [build(Shape, each) for each in data["shapes"]]
        extract = {key: build(Extract, each) for key, each in data.get("extract", {}).items()}
        return build(Description, {**data, "shapes": shapes, "extract": extract})
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{name} does not describe a task: {error}") from None


def build(kind: Any, data: Mapping[str, Any]) -> Any:
    """A dataclass from values of JSON, each of which must be of the type of its field."""
    if not isinstance(data, dict):
        raise ValueError(f"found {data!r}; expected an object with {', '.join(each.name for each in fields(kind))}")
    hints = get_type_hints(kind)
    for name, value in data.items():
        if name in hints and not fits(value, hints[name]):
            raise ValueError(f'"{name}" is {value!r}; expected {words_for(hints[name])}')
    return kind(**data)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of a type. A list fits where a tuple is wanted."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin is UnionType:
        return any(fits(value, each) for each in inner)
    if origin in (list, tuple):
        fixed = origin is tuple and inner[-1] is not ...
        kinds = inner if fixed else inner[:1] * len(value) if isinstance(value, list) else ()
        return isinstance(value, list) and len(value) == len(kinds) and all(map(fits, value, kinds))
    if origin is Mapping:
        return isinstance(value, dict) and all(fits(each, inner[1]) for each in value.values())
    return type(value) is hint


def words_for(hint: Any) -> str:
    """A type in the words of JSON."""
    names = {str: "a text", int: "a whole number"}
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is UnionType:
        return " or ".join(map(words_for, get_args(hint)))
    return names.get(hint, "a list")


def read_description(path: str | Path) -> Description:
    """The description in a JSON file."""
    try:
        data = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    return from_dict(data, str(path))
