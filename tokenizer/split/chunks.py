"""Where a long text can be cut without changing its words, and grouping texts into portions of equal work.

A text may be cut wherever a letter or number is followed by white space or a symbol (except an apostrophe): in every
pattern of scanner.py a word begins there, and no word before depends on what comes after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np

from tokenizer.split.boundaries import APOSTROPHE
from tokenizer.split.unicode import CASELESS, NEWLINE, NUMBER, SYMBOL, class_table, code_points

CHUNK_CHARACTERS = 1 << 17  # scanned at a time: its arrays fit into the fast memory of a processor
BLOCK_CHARACTERS = 1 << 18  # of a large file, that are read at a time
CUT_CHARACTERS = 1 << 14  # at the end of a block, in which a place to cut is looked for
SEARCH_CHARACTERS = 256  # the part of a text that is searched for a place to cut; then twice as many, and so on


def chunks(text: str, size: int = CHUNK_CHARACTERS) -> Iterator[str]:
    """Parts of about `size` characters (more where there is no place to cut); joined, they are `text`."""
    start = 0
    while len(text) - start > size:
        end = safe_cut(text, start + size)
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def safe_cut(text: str, start: int) -> int:
    """The first position from `start` (at least 1) where cutting changes no word; len(text) if there is none."""
    size = SEARCH_CHARACTERS
    while start < len(text):
        codes = code_points(text[start - 1 : start + size])
        classes = class_table().take(codes)
        left, right = classes[:-1], classes[1:]
        can_end = (left <= CASELESS) | (left == NUMBER)
        can_begin = (right == SYMBOL) & (codes[1:] != APOSTROPHE) | (right >= NEWLINE)
        positions = np.flatnonzero(can_end & can_begin)
        if len(positions):
            return start + int(positions[0])
        start, size = start + size, 2 * size
    return len(text)


def chunks_of_file(
    file: IO[str], block_characters: int = BLOCK_CHARACTERS, cut_characters: int = CUT_CHARACTERS
) -> Iterator[str]:
    """The text of `file` in parts, read block by block. A cut is looked for in the last `cut_characters` of a block."""
    text = ""
    while block := file.read(block_characters):
        text += block
        cut = safe_cut(text, max(1, len(text) - cut_characters))
        if cut < len(text):
            yield text[:cut]
            text = text[cut:]
    if text:
        yield text


def chunks_of_texts(texts: Iterable[str], size: int = CHUNK_CHARACTERS) -> Iterator[tuple[list[int], list[str]]]:
    """The chunks of all `texts` in groups of about `size` characters: for each chunk the index of its text, and the
    chunks."""
    owners, group, characters = [], [], 0
    for i, text in enumerate(texts):
        for chunk in chunks(text, size):
            owners.append(i)
            group.append(chunk)
            characters += len(chunk)
            if characters >= size:
                yield owners, group
                owners, group, characters = [], [], 0
    if group:
        yield owners, group


def groups_of_texts(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """`texts` in lists of about `size` characters."""
    group, characters = [], 0
    for text in texts:
        group.append(text)
        characters += len(text)
        if characters >= size:
            yield group
            group, characters = [], 0
    if group:
        yield group
