"""Texts to the positions of their words, for the patterns that boundaries.py knows. No search, no loop over words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from tokenizer.split.boundaries import WORD, gpt2_starts, gpt4_starts
from tokenizer.split.boundaries_o200k import o200k_starts
from tokenizer.split.pretokenizer import PATTERNS, Pretokenizer
from tokenizer.split.text_arrays import ClassMap, text_arrays
from tokenizer.split.unicode import BLANK, CASELESS, EDGE, LOWER, MARK, NEWLINE, NUMBER, SPACE, SYMBOL, UPPER

SEPARATOR = "\0"  # between texts that are scanned together; its class is set to EDGE there

# The classes that patterns distinguish. For most of them all letters are the same, and marks are symbols.
# fmt: off
ALL_CLASSES  = (UPPER, LOWER, CASELESS, MARK,   SYMBOL, NUMBER, NEWLINE, SPACE, BLANK)
LETTERS_ONLY = (WORD,  WORD,  WORD,     SYMBOL, SYMBOL, NUMBER, NEWLINE, SPACE, BLANK)
NO_LINES     = (WORD,  WORD,  WORD,     SYMBOL, SYMBOL, NUMBER, SPACE,   SPACE, BLANK)
# fmt: on


class Rules(NamedTuple):
    """How the words of a pattern are found: the classes that it distinguishes, and a function of boundaries.py.

    The function returns None for a text that only the regular expression can split.
    """

    class_map: ClassMap
    starts: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray | None]


# `whole_end`: GPT-4's pattern has `\s++$`; the patterns of Llama 3 and Qwen2 have not.
RULES = {
    PATTERNS["gpt2"]: Rules(NO_LINES, gpt2_starts),
    PATTERNS["gpt4"]: Rules(LETTERS_ONLY, gpt4_starts),
    PATTERNS["o200k"]: Rules(ALL_CLASSES, o200k_starts),
    PATTERNS["llama3"]: Rules(LETTERS_ONLY, partial(gpt4_starts, whole_end=False)),
    PATTERNS["qwen2"]: Rules(LETTERS_ONLY, partial(gpt4_starts, max_digits=1, whole_end=False)),
}


class Words(NamedTuple):
    """The words of some texts.

    `data` holds the texts in UTF-8. Words begin there at `starts`, (words,), and have `lengths`, (words,), in bytes.
    `counts`, (texts,), is the number of words of each text.
    """

    data: bytes
    starts: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray


class WordScanner:
    """Finds the same words as a Pretokenizer whose expression is among RULES."""

    def __init__(self, pretokenizer: Pretokenizer):
        self._pretokenizer = pretokenizer
        self._rules = RULES[pretokenizer.expression]

    def words(self, texts: Sequence[str]) -> Words:
        """All words of `texts`. No text may be empty."""
        text = SEPARATOR.join(texts)
        firsts = np.cumsum([0, *(len(each) + 1 for each in texts[:-1])])  # where the texts begin
        separators = firsts[1:] - 1
        arrays = text_arrays(text)
        classes = arrays.classes(self._rules.class_map)
        classes[separators] = EDGE
        is_start = self._rules.starts(classes, arrays.codes, firsts)
        if is_start is None:
            is_start = self._search(texts, firsts)
        # A separator is a word of its own, which is removed below.
        is_start[firsts] = is_start[separators] = True
        edges = np.append(np.flatnonzero(is_start), len(text))
        counts = np.diff(np.searchsorted(edges, firsts), append=len(edges) - 1)
        edges = arrays.byte_offsets(edges)
        starts, lengths = edges[:-1], np.diff(edges)
        if len(texts) > 1:
            last_of_texts = np.cumsum(counts)[:-1] - 1  # the separators, counted with the text before them
            starts, lengths = np.delete(starts, last_of_texts), np.delete(lengths, last_of_texts)
            counts[:-1] -= 1
        return Words(arrays.data, starts, lengths, counts)

    def _search(self, texts: Sequence[str], firsts: np.ndarray) -> np.ndarray:
        """Where words begin, (characters,) bool, found by the regular expression."""
        is_start = np.zeros(firsts[-1] + len(texts[-1]), bool)
        for text, first in zip(texts, firsts.tolist()):
            is_start[first + np.cumsum([0, *map(len, self._pretokenizer.split(text))])[:-1]] = True
        return is_start
