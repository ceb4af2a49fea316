"""The rules that FineWeb adds: lines that look like lists, menus and headings.

Penedo et al. 2024, https://arxiv.org/abs/2406.17557, section 3.6. Names, order and counting as in datatrove.
"""

from __future__ import annotations

from functools import lru_cache

from llm.data.lab.rules.repetition import EMPTY, duplicates
from llm.data.lab.rules.split import words_of
from llm.data.lab.rules.steps import Limit, ratio

SHORT_LINE = 30  # characters
# The marks that end a sentence (Unicode's property Sentence_Terminal), without those of historic scripts that are
# outside the Basic Multilingual Plane, which datatrove has too.
SENTENCE_MARKS = frozenset("!.?։؝؞؟۔܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮᜵᜶។៕᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᭽᭾᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼⹓⹔。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡")


@lru_cache(maxsize=1)
def filled_lines(text: str) -> list[str]:
    """The lines of a text, cut at line feeds, without the empty ones."""
    return [line for line in text.split("\n") if line.strip()]


def punctuated_lines(text: str) -> float:
    """The share of lines that end as a sentence does."""
    lines = filled_lines(text)
    return ratio(sum(line[-1] in SENTENCE_MARKS for line in lines), len(lines))


def short_lines(text: str) -> float:
    """The share of lines of at most 30 characters."""
    lines = filled_lines(text)
    return ratio(sum(len(line) <= SHORT_LINE for line in lines), len(lines))


def duplicate_line_characters(text: str) -> float:
    """The share of characters in lines that occurred before, line feeds left out."""
    return ratio(duplicates(filled_lines(text))[1], len(text) - text.count("\n"))


def line_feeds_per_word(text: str) -> float:
    """How many line feeds there are for each word."""
    return ratio(text.count("\n"), len(words_of(text)))


_SOURCE = "FineWeb (Penedo et al. 2024)"
FINEWEB_QUALITY = [
    EMPTY,
    Limit("line_punct_ratio", punctuated_lines, "at least", 0.12, _SOURCE),
    Limit("short_line_ratio", short_lines, "at most", 0.67, _SOURCE),
    Limit("char_dup_ratio", duplicate_line_characters, "at most", 0.01, _SOURCE),
    Limit("list_ratio", line_feeds_per_word, "at most", 0.3, _SOURCE),
]
