"""The rules for repetition of Gopher: lines, paragraphs and n-grams that say the same again.

Rae et al. 2021, https://arxiv.org/abs/2112.11446, table A1. Names, order and counting as in datatrove.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

from llm.data.lab.rules.ngrams import repeated, top
from llm.data.lab.rules.steps import Limit, ratio


def filled_characters(text: str) -> int:
    """How many characters the text has without the white space around it."""
    return len(text.strip())


def duplicates(parts: Sequence[str]) -> tuple[int, int]:
    """How many parts occurred before, and how many characters these have."""
    seen: set[str] = set()
    if len(set(parts)) == len(parts):
        return 0, 0
    count = characters = 0
    for part in parts:
        if part in seen:
            count += 1
            characters += len(part)
        else:
            seen.add(part)
    return count, characters


@lru_cache(maxsize=1)
def _paragraphs(text: str) -> list[str]:
    """The stretches between two or more line feeds, as re.split(r"\\n{2,}", text.strip())."""
    parts = (part.lstrip("\n") for part in text.strip().split("\n\n"))
    return [part for part in parts if part] or [""]


@lru_cache(maxsize=1)
def _lines(text: str) -> list[str]:
    """The stretches between line feeds, as re.split(r"\\n+", text): a feed at the end begins one more, empty line."""
    lines = [line for line in text.split("\n") if line]
    return [""] * text.startswith("\n") + lines + [""] * text.endswith("\n") or [""]


def duplicate_paragraphs(text: str) -> float:
    """The share of paragraphs that occurred before."""
    paragraphs = _paragraphs(text)
    return ratio(duplicates(paragraphs)[0], len(paragraphs))


def duplicate_paragraph_characters(text: str) -> float:
    """The share of characters in paragraphs that occurred before."""
    return ratio(duplicates(_paragraphs(text))[1], len(text))


def duplicate_lines(text: str) -> float:
    """The share of lines that occurred before."""
    lines = _lines(text)
    return ratio(duplicates(lines)[0], len(lines))


def duplicate_line_characters(text: str) -> float:
    """The share of characters in lines that occurred before."""
    return ratio(duplicates(_lines(text))[1], len(text))


def top_ngram(n: int, text: str) -> float:
    """The share of characters in the most frequent n-gram of words."""
    return ratio(top(text, n), len(text))


def repeated_ngrams(n: int, text: str) -> float:
    """The share of characters in n-grams of words that occurred before."""
    return ratio(repeated(text, n), len(text))


_SOURCE = "Gopher (Rae et al. 2021), repetition"
EMPTY = Limit("empty", filled_characters, "at least", 1, "datatrove")
GOPHER_REPETITION = [
    EMPTY,
    Limit("dup_para_frac", duplicate_paragraphs, "at most", 0.3, _SOURCE),
    Limit("dup_para_char_frac", duplicate_paragraph_characters, "at most", 0.2, _SOURCE),
    Limit("dup_line_frac", duplicate_lines, "at most", 0.3, _SOURCE),
    Limit("dup_line_char_frac", duplicate_line_characters, "at most", 0.2, _SOURCE),
    *(
        Limit(f"top_{n}_gram", partial(top_ngram, n), "at most", share, _SOURCE)
        for n, share in ((2, 0.20), (3, 0.18), (4, 0.16))
    ),
    *(
        Limit(f"duplicated_{n}_n_grams", partial(repeated_ngrams, n), "at most", share, _SOURCE)
        for n, share in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
    ),
]
