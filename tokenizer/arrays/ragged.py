"""Ragged arrays: rows of different lengths, stored one after another in one array, beside an array of the lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

Ragged = tuple[np.ndarray, np.ndarray]  # the values of all rows, (values,), and the length of each row, (rows,)


def from_lists(lists: Iterable[Sequence[int]]) -> Ragged:
    """Lists of ids as a ragged array: (ids,) uint32 and (lists,) int64."""
    lists = list(lists)
    return np.fromiter(chain.from_iterable(lists), np.uint32), np.fromiter(map(len, lists), np.int64)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ..., start + length - 1 of each row in turn: ranges([5, 0], [2, 3]) is [5, 6, 0, 1, 2]."""
    ends = np.cumsum(lengths)  # where the rows end in the result; they begin there at ends - lengths
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)


def assemble(parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], row_count: int) -> Ragged:
    """One ragged array of `row_count` rows, from parts that were computed separately.

    A part is a triple: the indices of its k rows, (k,), their values, and their lengths, (k,). Each row is in exactly
    one part.
    """
    parts = list(parts)
    lengths = np.zeros(row_count, np.int64)
    for rows, _, part_lengths in parts:
        lengths[rows] = part_lengths
    starts = np.cumsum(lengths) - lengths
    values = np.empty(lengths.sum(), np.int64)
    for rows, part_values, part_lengths in parts:
        values[ranges(starts[rows], part_lengths)] = part_values
    return values, lengths


def position_in_run(is_first: np.ndarray) -> np.ndarray:
    """Count 0, 1, 2, ... from each True of `is_first`, (n,) bool: [T, F, F, T, F] gives [0, 1, 2, 0, 1]."""
    index = np.arange(len(is_first))
    return index - np.maximum.accumulate(np.where(is_first, index, 0))


def slices(data: bytes, starts: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    """The words data[start : start + length]."""
    return [data[start:end] for start, end in zip(starts.tolist(), (starts + lengths).tolist())]
