"""Equal keys in a corpus: which documents (or lines) have the same key, for keys that may be larger than memory.

Exact duplicates, lines that repeat, and the bands of MinHash are all found in this way. The keys of each chunk are in a
file, (columns, n) uint64. Each column is looked at alone, and one part of it at a time: the keys with the same first
bits. Equal keys are in the same part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm.data.lab.duplicates.stages import load_array, name_of, save_array
from llm.data.lab.workers import Run

MOST_KEYS = 1 << 21  # in a part: sorting them takes about 100 MB


@dataclass(frozen=True)
class Keys:
    """The keys of a chunk."""

    path: Path
    first: int  # the number of the first key in the corpus
    count: int


def equal_pairs(keys: Sequence[Keys], columns: int, folder: Path, run: Run) -> Iterator[np.ndarray]:
    """For each column and part, the pairs (first number with a key, another with the same key): (2, m) int64."""
    total = sum(each.count for each in keys)
    parts = 1 << max(0, (total - 1) // MOST_KEYS).bit_length()
    tasks = ((keys, column, part, parts, folder) for column in range(columns) for part in range(parts))
    return (load_array(path) for path in run(find_pairs, tasks))


def find_pairs(keys: Sequence[Keys], column: int, part: int, parts: int, folder: Path) -> Path:
    """A task: the pairs of one part of a column, in a file."""
    path = folder / name_of("pairs", [each.path.name for each in keys], column, part, parts)
    if not path.exists():
        save_array(path, pairs_of(*read_part(keys, column, part, parts)))
    return path


def read_part(keys: Sequence[Keys], column: int, part: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """The keys of a part, and their numbers in the corpus, in order."""
    found, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for each in keys:
        values = load_array(each.path)[column]
        inside = np.flatnonzero(values >> np.uint64(1) >> np.uint64(64 - parts.bit_length()) == part)
        found.append(values[inside])
        numbers.append(inside + each.first)
    return np.concatenate(found), np.concatenate(numbers)


def pairs_of(keys: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The pairs (first number with a key, another with the same key), in order: (2, m)."""
    order = np.argsort(keys, kind="stable")  # stable: numbers with the same key stay in order
    keys, numbers = keys[order], numbers[order]
    begins = np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]
    first = numbers[begins][np.cumsum(begins) - 1]
    pairs = np.stack([first, numbers])[:, ~begins]
    return pairs[:, np.lexsort(pairs[::-1])]
