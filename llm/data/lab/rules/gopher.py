"""The rules for quality of Gopher: numbers of words, marks and lines that prose hardly has.

Rae et al. 2021, https://arxiv.org/abs/2112.11446, appendix A1. Names, order and counting as in datatrove: the marks
of punctuation are words, but they count neither for the length of a text nor for the mean length of its words. On
purpose, that is so for all that has no letter and no digit: datatrove has a list of marks without £, •, ° or 🙂.
"""

from __future__ import annotations

import numpy as np

from llm.data.lab.rules.split import words_of
from llm.data.lab.rules.steps import Limit, ratio

STOP_WORDS = ["the", "be", "to", "of", "and", "that", "have", "with"]
_STOP_NUMBERS = {word: number for number, word in enumerate(STOP_WORDS, 1)}


def has_letter(word: str) -> int:
    return any(map(str.isalpha, word))


def _is_counted(word: str) -> int:
    return any(map(str.isalnum, word))


def _stop_word(word: str) -> int:
    return _STOP_NUMBERS.get(word, 0)


def word_count(text: str) -> int:
    """How many words have a letter or a digit."""
    return int(words_of(text).values(_is_counted).sum())


def mean_word_length(text: str) -> float:
    """Characters of a word with a letter or a digit, on average."""
    words = words_of(text)
    counted = words.values(_is_counted)
    return ratio(int(words.values(len) @ counted), int(counted.sum()))


def hashes_per_word(text: str) -> float:
    """How many # there are for each word."""
    return ratio(text.count("#"), len(words_of(text)))


def ellipses_per_word(text: str) -> float:
    """How many ellipses there are for each word."""
    return ratio(text.count("...") + text.count("…"), len(words_of(text)))


def bullet_lines(text: str) -> float:
    """The share of lines that begin with a bullet."""
    if "-" not in text and "•" not in text:
        return 0.0
    lines = text.splitlines()
    return ratio(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines))


def ellipsis_lines(text: str) -> float:
    """The share of lines that end with an ellipsis."""
    if "..." not in text and "…" not in text:
        return 0.0
    lines = text.splitlines()
    return ratio(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines))


def words_with_a_letter(text: str) -> float:
    """The share of words that have a letter. A mark of punctuation is a word here."""
    words = words_of(text)
    return ratio(int(words.values(has_letter).sum()), len(words))


def different_stop_words(text: str) -> int:
    """How many of the words the, be, to, of, and, that, have, with occur, in small letters."""
    return int(np.count_nonzero(np.bincount(words_of(text).values(_stop_word))[1:]))


_SOURCE = "Gopher (Rae et al. 2021), quality"
GOPHER_QUALITY = [
    Limit("gopher_short_doc", word_count, "at least", 50, _SOURCE),
    Limit("gopher_long_doc", word_count, "at most", 100_000, _SOURCE),
    Limit("gopher_below_avg_threshold", mean_word_length, "at least", 3, _SOURCE),
    Limit("gopher_above_avg_threshold", mean_word_length, "at most", 10, _SOURCE),
    Limit("gopher_too_many_hashes", hashes_per_word, "at most", 0.1, _SOURCE),
    Limit("gopher_too_many_ellipsis", ellipses_per_word, "at most", 0.1, _SOURCE),
    Limit("gopher_too_many_bullets", bullet_lines, "at most", 0.9, _SOURCE),
    Limit("gopher_too_many_end_ellipsis", ellipsis_lines, "at most", 0.3, _SOURCE),
    Limit("gopher_below_alpha_threshold", words_with_a_letter, "at least", 0.8, _SOURCE),
    Limit("gopher_enough_stop_words", different_stop_words, "at least", 2, _SOURCE),
]
