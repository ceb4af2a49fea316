"""Texts to the edges of their words, for the patterns that word_starts.py knows; in pieces of a size that the fastest
memory of a processor holds.

A text may be cut wherever a letter or number is followed by white space or a symbol (an apostrophe excepted): in every
known pattern a word begins there, and nothing before depends on what comes after.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import BinaryIO, NamedTuple

import numpy as np

from tokenizer.split.boundaries import APOSTROPHE, WORD, gpt2_starts, gpt4_starts
from tokenizer.split.boundaries_o200k import o200k_starts
from tokenizer.split.pretokenizer import PATTERNS, Pretokenizer
from tokenizer.split.text_arrays import code_text
from tokenizer.split.unicode import (
    BLANK,
    CASELESS,
    EDGE,
    LOWER,
    MARK,
    NEWLINE,
    NUMBER,
    SPACE,
    SYMBOL,
    UPPER,
    class_table,
    code_points,
)

CHUNK = 1 << 17  # characters
BETWEEN = "\0"  # texts that are scanned together; its class there is EDGE
SECTION = 1 << 20  # bytes
END_OF_WORD = re.compile(rb"[0-9A-Za-z](?=[ \n])")
WINDOW = 256  # characters, or bytes, that are looked at for a place to cut; then twice as many, and so on

# What each class is to a pattern, in the order UPPER, LOWER, CASELESS, MARK, SYMBOL, NUMBER, NEWLINE, SPACE, BLANK.
LETTERS_ONLY = (WORD, WORD, WORD, SYMBOL, SYMBOL, NUMBER, NEWLINE, SPACE, BLANK)
NO_LINES = (WORD, WORD, WORD, SYMBOL, SYMBOL, NUMBER, SPACE, SPACE, BLANK)
ALL = (UPPER, LOWER, CASELESS, MARK, SYMBOL, NUMBER, NEWLINE, SPACE, BLANK)


class Scanner(NamedTuple):
    """How the words of a pattern are found: its view of the classes, and where words begin (None: it cannot tell)."""

    view: tuple[int, ...]
    starts: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray | None]


class Words(NamedTuple):
    """The words of some texts. `data` holds the texts in UTF-8, and words begin there at `starts`, (words,), and have
    `lengths`; `counts`, (texts,), say how many each text has."""

    data: bytes
    starts: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray


SCANNERS = {
    PATTERNS["gpt2"]: Scanner(NO_LINES, gpt2_starts),
    PATTERNS["gpt4"]: Scanner(LETTERS_ONLY, gpt4_starts),
    PATTERNS["o200k"]: Scanner(ALL, o200k_starts),
    PATTERNS["llama3"]: Scanner(LETTERS_ONLY, partial(gpt4_starts, whole_end=False)),
    PATTERNS["qwen2"]: Scanner(LETTERS_ONLY, partial(gpt4_starts, digits=1, whole_end=False)),
}


class WordScanner:
    """The vectorised twin of a Pretokenizer."""

    def __init__(self, pretokenizer: Pretokenizer):
        """KeyError for a pattern that is not among SCANNERS."""
        self._pretokenizer = pretokenizer
        self._scanner = SCANNERS[pretokenizer.expression]

    def words(self, texts: Sequence[str]) -> Words:
        """All words of `texts`, none of which is empty."""
        text = BETWEEN.join(texts)
        firsts = np.cumsum([0, *(len(each) + 1 for each in texts[:-1])])
        coded = code_text(text)
        classes = coded.classes(self._scanner.view)
        classes[firsts[1:] - 1] = EDGE
        starts = self._scanner.starts(classes, coded.codes, firsts)
        if starts is None:
            starts = self._search(texts, firsts)
        between = firsts[1:] - 1
        starts[firsts] = starts[between] = True
        edges = np.append(np.flatnonzero(starts), len(text))
        counts = np.diff(np.searchsorted(edges, firsts), append=len(edges) - 1)
        edges = coded.bytes_before(edges)
        begins, lengths = edges[:-1], np.diff(edges)
        if len(texts) > 1:  # what is between them is no word
            strange = np.cumsum(counts)[:-1] - 1
            begins, lengths = np.delete(begins, strange), np.delete(lengths, strange)
            counts[:-1] -= 1
        return Words(coded.data, begins, lengths, counts)

    def _search(self, texts: Sequence[str], firsts: np.ndarray) -> np.ndarray:
        """Where words begin, by the regular expression."""
        starts = np.zeros(firsts[-1] + len(texts[-1]), bool)
        for text, first in zip(texts, firsts.tolist()):
            starts[first + np.cumsum([0, *map(len, self._pretokenizer.split(text))])[:-1]] = True
        return starts


def slices(data: bytes, starts: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    """The words data[start : start + length]."""
    return [data[start:end] for start, end in zip(starts.tolist(), (starts + lengths).tolist())]


def chunks(text: str, size: int = CHUNK) -> Iterator[str]:
    """Pieces of about `size` characters or, where there is no place to cut for long, more; joined, they are `text`."""
    start = 0
    while len(text) - start > size:
        end = safe_cut(text, start + size)
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def sections(file: BinaryIO) -> Iterator[bytes]:
    """Pieces of about SECTION bytes of a text in UTF-8, likewise; what they are cut after and before is ASCII."""
    waiting: list[bytes] = []
    while len(block := file.read(SECTION)) == SECTION:
        found = END_OF_WORD.search(block, SECTION - WINDOW) or END_OF_WORD.search(block)
        end = found.end() if found else 0
        if end:
            yield b"".join([*waiting, block[:end]])
            waiting = []
        waiting.append(block[end:])
    yield b"".join([*waiting, block])


def in_groups(texts: Iterable[str], size: int) -> Iterator[list[str]]:
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


def grouped(texts: Iterable[str], size: int = CHUNK) -> Iterator[tuple[list[int], list[str]]]:
    """The pieces of all `texts` in groups of about `size` characters: which text each piece is of, and the pieces."""
    owners, pieces, characters = [], [], 0
    for i, text in enumerate(texts):
        for piece in chunks(text, size):
            owners.append(i)
            pieces.append(piece)
            characters += len(piece)
            if characters >= size:
                yield owners, pieces
                owners, pieces, characters = [], [], 0
    if pieces:
        yield owners, pieces


def safe_cut(text: str, start: int) -> int:
    """The first place from `start` on (at least 1) where the words on both sides are the same as those of the whole."""
    size = WINDOW
    while start < len(text):
        codes = code_points(text[start - 1 : start + size])
        classes = class_table().take(codes)
        left, right = classes[:-1], classes[1:]
        can_end = (left <= CASELESS) | (left == NUMBER)
        can_begin = (right == SYMBOL) & (codes[1:] != APOSTROPHE) | (right >= NEWLINE)
        places = np.flatnonzero(can_end & can_begin)
        if len(places):
            return start + int(places[0])
        start, size = start + size, 2 * size
    return len(text)
