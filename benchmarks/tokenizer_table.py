"""What benchmarks.tokenizer has measured, as rows of a table, as lines and as JSON."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.turns import Spread

COLUMNS = ("ours", "tiktoken", "tokenizers", "rustbpe", "textbook")


class Result(NamedTuple):
    """One row: what was done, how fast each was, and how many times as fast as the others ours was."""

    work: str
    what: str
    unit: str
    values: dict[str, Spread]
    ratios: dict[str, Spread]


def table(results: list[Result]) -> list[str]:
    columns = [name for name in COLUMNS if any(name in result.values for result in results)]
    others = [name for name in columns if name != "ours"]
    titles = ["work", "", "unit", *columns, *(f"vs {name}" for name in others)]
    rows = [
        [
            result.work,
            result.what,
            result.unit,
            *(cell(result.values.get(name)) for name in columns),
            *(cell(result.ratios.get(name)) for name in others),
        ]
        for result in results
    ]
    return ["| " + " | ".join(row) + " |" for row in [titles, ["---"] * len(titles), *rows]]


def cell(spread: Spread | None) -> str:
    return "" if spread is None else f"{number(spread.median)} ({number(spread.least)}-{number(spread.most)})"


def number(x: float) -> str:
    """Two digits or, if there are more before the point, those."""
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}" if x >= 1 else f"{x:.2g}"


def in_a_line(result: Result) -> str:
    values = ", ".join(f"{name} {number(spread.median)}" for name, spread in result.values.items())
    return f"{result.work} {result.what}: {values} {result.unit}"


def to_json(result: Result) -> dict[str, Any]:
    values = {name: spread.to_json() for name, spread in result.values.items()}
    return {
        **result._asdict(),
        "values": values,
        "ratios": {name: spread.to_json() for name, spread in result.ratios.items()},
    }
