"""The rules of C4: lines that are not sentences are dropped, then texts with too little left.

Raffel et al. 2020, https://jmlr.org/papers/v21/20-074.html, section 2.2; names and order as in datatrove, which is also
the order of C4's own code: a brace or "lorem ipsum" in a line that was dropped before drops no text.

On purpose, a line is judged here as it is without its citations. In datatrove "It is blue. [1]" has no mark at its end,
because the space before the citation is left, and the words of a citation count among the three words of a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import partial

from llm.data.lab.rules.sentences import count_sentences
from llm.data.lab.rules.steps import Change, Limit, Step
from llm.data.lab.verdict import Edited

# [1], [edit]: not within other brackets, so that no removal makes another citation of what is left.
_CITATION = re.compile(r"\[(?:\d*|edit|citation needed)\](?![\da-z ]*\])")
_END_MARKS = (".", "?", "!", '"', "'")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
LONG_WORD = 1000  # characters
FEW_WORDS = 3
LONG_LINE = 200  # characters

Reason = Callable[[str], str | None]  # why a line is dropped, if it is


def drop_lines(text: str, reason: Reason) -> Edited:
    """The text without the lines that have a reason to be dropped, and without white space around the others."""
    counts: Counter[str] = Counter()
    kept = []
    for line in map(str.strip, text.splitlines()):
        why = reason(line)
        if why is None:
            kept.append(line)
        else:
            counts[why] += 1
    return Edited("\n".join(kept).strip(), counts)


def drop_lines_that_mention(text: str, phrases: tuple[str, ...], why: str) -> Edited:
    """The text without the lines that have one of the phrases."""
    if not _mentions(text, phrases):
        return Edited(text)
    return drop_lines(text, lambda line: why if _mentions(line, phrases) else None)


def _mentions(text: str, phrases: tuple[str, ...]) -> bool:
    small = text.lower()
    return any(phrase in small for phrase in phrases)


def drop_citations(text: str) -> Edited:
    """The text without the marks that Wikipedia puts behind a word: [1], [edit], [citation needed]."""
    edited, count = _CITATION.subn("", text) if "[" in text else (text, 0)
    return Edited(edited, {"citation": count} if count else {})


def _long_word(line: str) -> str | None:
    if len(line) > LONG_WORD and any(len(word) > LONG_WORD for word in line.split()):
        return "too_long_word"
    return None


def _not_a_sentence(line: str) -> str | None:
    if not line.endswith(_END_MARKS) or line.endswith("..."):
        return "no_terminal_punc"
    return None


def _few_words(line: str) -> str | None:
    return "too_few_words" if len(line.split(maxsplit=FEW_WORDS)) < FEW_WORDS else None


def lorem_ipsums(text: str) -> int:
    """How often "lorem ipsum" occurs."""
    return text.lower().count("lorem ipsum")


def braces(text: str) -> int:
    """How many { there are."""
    return text.count("{")


def long_lines(text: str) -> int:
    """How many lines have at least 200 characters."""
    return sum(len(line) >= LONG_LINE for line in text.split("\n"))


def sentences(text: str) -> int:
    """How many sentences the lines have together."""
    return sum(map(count_sentences, text.splitlines()))


_SOURCE = "C4 (Raffel et al. 2020)"


def _lines_without(name: str, reason: Reason, about: str) -> Change:
    return Change(name, partial(drop_lines, reason=reason), _SOURCE, about)


def _lines_that_mention(what: str, phrases: tuple[str, ...]) -> Change:
    about = f"Lines with {' or '.join(map(repr, phrases))} are dropped; counted as {what}."
    return Change(f"c4_{what}", partial(drop_lines_that_mention, phrases=phrases, why=what), _SOURCE, about)


CITATIONS = Change(
    "c4_citations", drop_citations, _SOURCE, "[1], [edit] and [citation needed] are dropped; counted as citation."
)
LONG_WORDS = _lines_without(
    "c4_long_words",
    _long_word,
    f"Lines with a word of more than {LONG_WORD:,} characters are dropped; counted as too_long_word.",
)
TERMINAL = _lines_without(
    "c4_terminal_punct",
    _not_a_sentence,
    "Lines that do not end as a sentence does are dropped; counted as no_terminal_punc.",
)
FEW = _lines_without(
    "c4_few_words", _few_words, f"Lines with fewer than {FEW_WORDS} words are dropped; counted as too_few_words."
)
LOREM_IPSUM = Limit("lorem_ipsum", lorem_ipsums, "at most", 0, _SOURCE)
JAVASCRIPT = _lines_that_mention("javascript", ("javascript",))
CURLY_BRACKET = Limit("curly_bracket", braces, "at most", 0, _SOURCE)
POLICY = _lines_that_mention("policy", _POLICIES)
TOO_FEW_SENTENCES = Limit("too_few_sentences", sentences, "at least", 5, _SOURCE)
PARAGRAPHS = Limit("< 3 paragraphs", long_lines, "at least", 3, "mC4 (Xue et al. 2021)")

C4_QUALITY: list[Step] = [
    LONG_WORDS, CITATIONS, TERMINAL, FEW, LOREM_IPSUM, JAVASCRIPT, CURLY_BRACKET, POLICY, TOO_FEW_SENTENCES,
]  # fmt: skip
# FineWeb keeps lines without a mark at their end: it has a rule of its own for these.
C4_IN_FINEWEB: list[Step] = [step for step in C4_QUALITY if step is not TERMINAL]
