"""Lines or paragraphs that occur more than once in a corpus. Equal documents: near.py.

first     a line stays where it occurs first. Blank lines stay (as in datatrove and CCNet)
unique    only what occurs once in the whole corpus stays: menus vanish from every page (as in Stanford's CS336)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from llm.data.lab.duplicates.chunks import Chunk, line_of, read_chunk
from llm.data.lab.duplicates.groups import Keys, equal_pairs
from llm.data.lab.duplicates.stages import load_array, name_of, save_array
from llm.data.lab.duplicates.textbook import text_hash
from llm.data.lab.workers import Run
from tokenizer.formats.atomic import new_file, write_file

Unit = Literal["lines", "paragraphs"]
Policy = Literal["all", "first", "unique"]
# A part, and what ends it. Only "\n" ends a line: `splitlines` would also divide at characters that stand in texts.
PARTS = {"lines": re.compile(r"([^\n]*)(\n|\Z)"), "paragraphs": re.compile(r"(.*?)(\n\s*\n|\Z)", re.DOTALL)}


@dataclass(frozen=True)
class EditedChunk:
    """A chunk after its repeated parts were taken out."""

    path: Path
    count: int  # of documents that have something left
    emptied: Path  # the others, as they were
    parts: int  # how many parts were taken out


def without_repeated(chunks: Sequence[Chunk], unit: Unit, policy: Policy, folder: Path, run: Run) -> list[EditedChunk]:
    """The chunks without parts that are repeated."""
    files = list(run(part_keys, ((chunk.path, unit, folder) for chunk in chunks)))
    counts = [load_array(file).shape[1] for file in files]
    firsts = np.cumsum([0, *counts]).tolist()
    keys = [Keys(*each) for each in zip(files, firsts, counts)]
    path = folder / name_of("repeated", [chunk.name for chunk in chunks], unit, policy)
    if not path.exists():
        mark_repeated(keys, policy, path, folder, run)
    tasks = ((chunk.path, path, first, unit, policy, folder) for chunk, first in zip(chunks, firsts))
    return list(run(take_out, tasks))


def split(text: str, unit: Unit) -> list[tuple[str, str]]:
    """(part, end) for each line or paragraph; all of them together are the text."""
    return [(part, end) for part, end in PARTS[unit].findall(text) if part or end]


def part_keys(chunk: Path, unit: Unit, folder: Path) -> Path:
    """A task: a hash of each part of each document of a chunk, (1, n)."""
    path = folder / name_of("parts", chunk.name, unit)
    if not path.exists():
        parts = (part for document in read_chunk(chunk) for part, _ in split(document.text, unit))
        save_array(path, np.fromiter(map(text_hash, parts), np.uint64)[None])
    return path


def mark_repeated(keys: Sequence[Keys], policy: Policy, path: Path, folder: Path, run: Run) -> None:
    """Write for each part of the corpus whether it is taken out."""
    total = sum(each.count for each in keys)
    with new_file(path) as partial:
        repeated = np.lib.format.open_memmap(partial, "w+", np.bool_, (total,))
        for first, others in equal_pairs(keys, 1, folder, run):
            repeated[others] = True
            if policy == "unique":
                repeated[first] = True
        repeated.flush()


def take_out(chunk: Path, repeated: Path, first: int, unit: Unit, policy: Policy, folder: Path) -> EditedChunk:
    """A task: a chunk without its repeated parts. The first one has the number `first` in the corpus."""
    path = folder / name_of("documents", chunk.name, repeated.name, first)
    if not path.with_suffix(".counts").exists():
        counts = write_edited(chunk, load_array(repeated), first, unit, policy, path)
        save_array(path.with_suffix(".counts"), np.array(counts))
    count, parts = load_array(path.with_suffix(".counts")).tolist()
    return EditedChunk(path, count, path.with_suffix(".emptied"), parts)


def write_edited(chunk: Path, marks: np.ndarray, first: int, unit: Unit, policy: Policy, path: Path) -> tuple[int, int]:
    """Write the documents that have something left, and the others. Returns how many have, and the parts taken out."""
    left, emptied, taken = [], [], 0
    for document in read_chunk(chunk):
        parts = split(document.text, unit)
        kept = [
            part + end
            for (part, end), mark in zip(parts, marks[first : first + len(parts)].tolist())
            if not mark or policy == "first" and not part.strip()
        ]
        first, taken, text = first + len(parts), taken + len(parts) - len(kept), "".join(kept)
        if text.strip():
            left.append(line_of(replace(document, text=text)))
        else:
            emptied.append(line_of(document))
    write_file(path.with_suffix(".emptied"), b"".join(emptied))
    write_file(path, b"".join(left))
    return len(left), taken
