"""Which examples are held out for validation: the same ones every time, and never one that is also learned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from llm.data.errors import DataError
from llm.tuning.examples.rows import Row, read_rows

R = TypeVar("R", bound=Row)


def read_split(data: str, val_data: str | None, val_fraction: float, kinds: tuple[type[R], ...]) -> tuple[list, list]:
    """The examples of a file to learn from and those to validate with: of a file of their own, or a part of the first.

    Raises DataError if a row is of none of these kinds.
    """
    return divide(data, val_data, val_fraction, lambda path: read_rows(path, kinds))


def divide(
    data: str, val_data: str | None, val_fraction: float, read: Callable[[str], list[R]]
) -> tuple[list[R], list[R]]:
    """`read_split` of what `read` finds in a file."""
    rows = read(data)
    if val_data is None:
        return split_rows(rows, val_fraction)
    held_out = read(val_data)
    training = without(rows, held_out)
    if not training:
        raise DataError(f"all examples of {data} are in {val_data} too, so nothing is left to learn; give other files")
    return training, held_out


def split_rows(rows: Sequence[R], val_fraction: float) -> tuple[list[R], list[R]]:
    """The examples to learn from and those to validate with, each in the order of the file.

    An example that stands in the file twice is on one side with both. The choice depends on what the examples say, not
    on their order. Raises DataError if there are fewer than two different examples.
    """
    keys = [fingerprint(row) for row in rows]
    different = sorted(set(keys))  # hashes, so this is a random order
    if len(different) < 2:
        found = "all examples are equal, and one" if len(rows) > 1 else "one example"
        raise DataError(f"{found} cannot be divided into training and validation; give more, or --val-data FILE")
    count = min(max(1, round(len(different) * val_fraction)), len(different) - 1)
    held_out = set(different[:count])
    training = [row for row, key in zip(rows, keys) if key not in held_out]
    return training, [row for row, key in zip(rows, keys) if key in held_out]


def without(rows: Sequence[R], others: Sequence[Row]) -> list[R]:
    """The rows that say nothing that one of the others says."""
    known = {fingerprint(row) for row in others}
    return [row for row in rows if fingerprint(row) not in known]


def fingerprint(row: Row) -> str:
    """A hash of what an example says."""
    return hashlib.sha256(json.dumps(row.fields, sort_keys=True).encode()).hexdigest()


def checksum(rows: Sequence[Row]) -> str:
    """A hash of all rows in their order, by which a run that is resumed knows its data."""
    return hashlib.sha256("".join(map(fingerprint, rows)).encode()).hexdigest()
