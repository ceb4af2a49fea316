"""Cutting long texts without changing their words, and grouping short texts.

A text can be cut where a letter or number is followed by white space or a symbol (except an apostrophe). In all
patterns of scanner.py a word begins there, and the words before do not depend on the text after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import IO, TypeVar

import numpy as np

from tokenizer.split.boundaries import APOSTROPHE
from tokenizer.split.unicode import CASELESS, NEWLINE, NUMBER, SYMBOL, class_table, code_points

Item = TypeVar("Item")

CHUNK_CHARACTERS = 1 << 17  # a text is scanned in chunks of this size, whose arrays fit into the cache of a processor
BLOCK_CHARACTERS = 1 << 18  # a file is read in blocks of this size ...
CUT_CHARACTERS = 1 << 14  # ... which are cut somewhere in their last characters
SEARCH_CHARACTERS = 256  # a cut is first searched in this number of characters, then in twice as many, and so on


def chunks(text: str, size: int = CHUNK_CHARACTERS) -> Iterator[str]:
    """Parts of about `size` characters (more if there is no place to cut). Joined, they are `text`."""
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


def groups_of_about(size: int, items: Iterable[Item], length: Callable[[Item], int]) -> Iterator[list[Item]]:
    """`items` in lists whose lengths, added up, are about `size`."""
    group, total = [], 0
    for item in items:
        group.append(item)
        total += length(item)
        if total >= size:
            yield group
            group, total = [], 0
    if group:
        yield group
