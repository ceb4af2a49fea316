"""Normalizers: what some tokenizers do to a text before it is split into words.

A normalizer is called with a text and returns the new one. Its `align` does the same to an `AlignedText`, in which each
character remembers where it comes from; it is slower, and used for offsets only. Both do what the normalizers of
github.com/huggingface/tokenizers do.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import regex

from tokenizer.text.aligned_text import AlignedText, Change
from tokenizer.text.huggingface_unicode import NEW_MARK

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]


def character_class(ranges: str) -> str:
    r"""Ranges of code points in hexadecimal as the inside of a [...] of a regular expression.

    "41 61-7A" becomes \U00000041\U00000061-\U0000007A.
    """
    return "".join("-".join(rf"\U{code:0>8}" for code in part.split("-")) for part in ranges.split())


class Normalizer(Protocol):
    def __call__(self, text: str) -> str: ...

    def align(self, aligned: AlignedText) -> AlignedText: ...


@dataclass(frozen=True)
class Sequence:
    """Applies several normalizers, one after the other."""

    normalizers: tuple[Normalizer, ...]

    def __call__(self, text: str) -> str:
        for normalizer in self.normalizers:
            text = normalizer(text)
        return text

    def align(self, aligned: AlignedText) -> AlignedText:
        for normalizer in self.normalizers:
            aligned = normalizer.align(aligned)
        return aligned


@dataclass(frozen=True)
class Prepend:
    """Puts `prefix` before a text that is not empty. Llama 2 begins every text with a space."""

    prefix: str

    def __call__(self, text: str) -> str:
        return self.prefix + text if text else text

    def align(self, aligned: AlignedText) -> AlignedText:
        return aligned.prepend(self.prefix) if aligned.text else aligned


@dataclass(frozen=True)
class Replace:
    """Replaces one character by another. SentencePiece writes a space as U+2581, so that it can be part of a token."""

    old: str
    new: str

    def __call__(self, text: str) -> str:
        return text.replace(self.old, self.new)

    def align(self, aligned: AlignedText) -> AlignedText:
        return AlignedText(self(aligned.text), aligned.spans)


@dataclass(frozen=True)
class CollapseSpaces:
    """Removes spaces at both ends, and all but one of several. SentencePiece calls it `remove_extra_whitespaces`."""

    def __call__(self, text: str) -> str:
        return regex.sub(" +", " ", text.strip(" "))

    def align(self, aligned: AlignedText) -> AlignedText:
        text = aligned.text
        first, last = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
        return aligned.filter([first <= i < last and text[i : i + 2] != "  " for i in range(len(text))])


@dataclass(frozen=True)
class Lowercase:
    """Lower case, each character by itself: "Σ" becomes "σ" even at the end of a word, where str.lower makes it "ς"."""

    def __call__(self, text: str) -> str:
        return "".join(map(str.lower, text)) if "Σ" in text else text.lower()

    def align(self, aligned: AlignedText) -> AlignedText:
        return aligned.change(change for character in aligned.text for change in replacement(character.lower()))


def replacement(characters: str) -> list[Change]:
    """The changes that replace one character by `characters`: the first replaces it, the others are inserted."""
    return [(character, min(i, 1)) for i, character in enumerate(characters)]


# Unicode normal forms


@dataclass(frozen=True)
class UnicodeForm:
    """NFC, NFD, NFKC or NFKD: one spelling for texts that look the same (Unicode Standard Annex 15).

    Combining marks that are newer than Unicode 9 are left alone, as Hugging Face's library does.
    """

    form: Form

    def __call__(self, text: str) -> str:
        if text.isascii() or unicodedata.is_normalized(self.form, text):
            return text
        parts = NEW_MARKS.split(text)  # every second part is a new mark
        for i in range(0, len(parts), 2):
            parts[i] = unicodedata.normalize(self.form, parts[i])
        return "".join(parts)

    def align(self, aligned: AlignedText) -> AlignedText:
        if self(aligned.text) == aligned.text:
            return aligned
        changes = decompose(aligned.text, "NFKD" if "K" in self.form else "NFD")
        return aligned.change(compose(changes) if self.form.endswith("C") else changes)


NEW_MARKS = regex.compile(f"([{character_class(NEW_MARK)}])")


def combining(character: str) -> int:
    """The canonical combining class: 0 for a base character, more for a mark on it (230 for most accents)."""
    return 0 if NEW_MARKS.match(character) else unicodedata.combining(character)


def decompose(text: str, form: Form) -> Iterator[Change]:
    """Replace composed characters by their parts, and put marks into canonical order. `form` is NFD or NFKD."""
    marks: list[Change] = []  # after the last base character
    for character in text:
        parts = character if NEW_MARKS.match(character) else unicodedata.normalize(form, character)
        for part, change in replacement(parts):
            if combining(part) == 0:
                yield from sorted(marks, key=lambda mark: combining(mark[0]))
                marks.clear()
                yield part, change
            else:
                marks.append((part, change))
    yield from sorted(marks, key=lambda mark: combining(mark[0]))


def compose(changes: Iterator[Change]) -> Iterator[Change]:
    """The inverse of `decompose`: a base character and a mark become one character where there is one for both."""
    base: Change | None = None
    waiting: list[Change] = []  # marks after the base that could not be joined to it
    for character, change in changes:
        mark_class = combining(character)
        # A waiting mark of the same class or a higher one stands between the base and this mark.
        blocked = bool(waiting) and combining(waiting[-1][0]) >= mark_class
        joined = UnicodeForm("NFC")(base[0] + character) if base and not blocked else ""
        if base and len(joined) == 1:
            base = joined, base[1] + change - 1
        elif mark_class and base:
            waiting.append((character, change))
        elif mark_class:
            yield character, change
        else:  # a new base: the one before it is complete
            yield from [base, *waiting] if base else []
            base, waiting = (character, change), []
    yield from [base, *waiting] if base else []
