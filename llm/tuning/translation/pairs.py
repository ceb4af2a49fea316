"""Pairs of a source and its target: a file with two columns, a tab between them, and no header. One pair a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llm.data.errors import DataError
from llm.data.records import Place, read_text, split_tsv
from llm.tuning.examples.rows import Row
from llm.tuning.translation.dates import dates

BUILT_IN = {"dates": dates}  # names for --data


@dataclass(frozen=True)
class Pair(Row):
    source: str
    target: str


def read_pairs(data: str) -> list[Pair]:
    """The pairs of a file, or those with a built-in name. DataError names the file and line of one that is none."""
    if data in BUILT_IN:
        return [pair(Place(data, number), [*both]) for number, both in enumerate(BUILT_IN[data](), 1)]
    if not Path(data).is_file():
        raise DataError(f"--data {data} is no file; give one with two columns, or one of {', '.join(BUILT_IN)}")
    found = [pair(place, fields) for place, fields in split_tsv(read_text(data), data)]
    if not found:
        raise DataError(f"{data} holds no pairs; expected lines of a source and its target, with a tab between them")
    return found


def pair(place: Place, fields: list[str]) -> Pair:
    if len(fields) != 2:
        raise DataError(
            f"{place}: found {len(fields)} column{'s' * (len(fields) != 1)}; expected 2, a source and its target, with "
            "a tab between them"
        )
    source, target = (field.strip() for field in fields)
    if not source or not target:
        raise DataError(f"{place}: the {'target' if source else 'source'} is empty; give both, or delete this line")
    return Pair(source, target, place=place, fields={"source": source, "target": target})
