"""A list of words that the user gives, such as swear words: a text with one of them is dropped.

rule = unwanted_words(["darn", "son of a gun"])
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial

from llm.data.lab.rules.steps import Limit

_WORD = re.compile(r"\w+")
# Han, kana, Thai, Lao, Khmer and Burmese are written without spaces: such a word is found within others.
_NO_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def unwanted_words(words: Iterable[str], most: int = 0) -> Limit:
    """The rule that a text has at most so many different words of a list. Capital and small letters are the same.

    A word is found where no letter, digit or underscore is next to it, as in C4's list of words.
    """
    listed = {word.strip().lower() for word in words} - {""}
    inner = sorted(word for word in listed if _NO_SPACES.search(word))
    single = {word for word in listed.difference(inner) if _WORD.fullmatch(word)}
    phrases = [_phrase(word) for word in sorted(listed.difference(inner, single))]

    found = partial(_found, single, phrases, inner)
    return Limit("document_removed_with_badwords", found, "at most", most, "C4 (Raffel et al. 2020), with your list")


def _found(single: set[str], phrases: list[re.Pattern[str]], inner: list[str], text: str) -> int:
    """How many of the listed words are in a text."""
    small = text.lower()
    count = len(single.intersection(_WORD.findall(small))) if single else 0
    return count + sum(p.search(small) is not None for p in phrases) + sum(word in small for word in inner)


def _phrase(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)")
