"""The results of benchmarks.tokenizer as rows of a table, as lines and as JSON."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.comparison import Spread

COLUMNS = ("ours", "tiktoken", "tokenizers", "rustbpe", "textbook")


class Result(NamedTuple):
    """One row: the work, the speed of each library, and that of ours divided by it."""

    work: str
    what: str
    unit: str
    values: dict[str, Spread]
    ratios: dict[str, Spread]


def table(results: list[Result]) -> list[str]:
    columns = [name for name in COLUMNS if any(name in result.values for result in results)]
    others = [name for name in columns if name != "ours"]
    titles = ["work", "", "unit", *columns, *(f"vs {name}" for name in others)]

    def row(result: Result) -> list[str]:
        spreads = [*(result.values.get(name) for name in columns), *(result.ratios.get(name) for name in others)]
        return [result.work, result.what, result.unit, *map(cell, spreads)]

    rows = map(row, results)
    return ["| " + " | ".join(row) + " |" for row in [titles, ["---"] * len(titles), *rows]]


def cell(spread: Spread | None) -> str:
    return "" if spread is None else f"{number(spread.median)} ({number(spread.least)}-{number(spread.most)})"


def number(x: float) -> str:
    """Three digits, or all digits before the point, or two digits below 1."""
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}" if x >= 1 else f"{x:.2g}"


def in_a_line(result: Result) -> str:
    values = ", ".join(f"{name} {number(spread.median)}" for name, spread in result.values.items())
    return f"{result.work} {result.what}: {values} {result.unit}"


def to_json(result: Result) -> dict[str, Any]:
    values = {name: spread.to_json() for name, spread in result.values.items()}
    ratios = {name: spread.to_json() for name, spread in result.ratios.items()}
    return result._asdict() | {"values": values, "ratios": ratios}
