"""Normalizers: what some tokenizers do to a text before it is split into words.

Each is called with a text and returns the new one. `align` does the same to a text that remembers where its characters
come from (slower, for offsets). `spec` is how a `tokenizer.json` describes it. They do what the normalizers of
github.com/huggingface/tokenizers do.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import regex

from tokenizer.text.aligned_text import AlignedText, Change
from tokenizer.text.huggingface_unicode import NEW_MARK

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]


def character_class(ranges: str) -> str:
    """The inside of a [...] of a regular expression, from ranges of code points in hexadecimal."""
    return "".join("-".join(rf"\U{code:0>8}" for code in part.split("-")) for part in ranges.split())


class Normalizer(Protocol):
    def __call__(self, text: str) -> str: ...

    def align(self, aligned: AlignedText) -> AlignedText: ...

    def spec(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Sequence:
    """One after the other."""

    normalizers: tuple[Normalizer, ...]

    def __call__(self, text: str) -> str:
        for normalizer in self.normalizers:
            text = normalizer(text)
        return text

    def align(self, aligned: AlignedText) -> AlignedText:
        for normalizer in self.normalizers:
            aligned = normalizer.align(aligned)
        return aligned

    def spec(self) -> dict[str, Any]:
        return {"type": "Sequence", "normalizers": [normalizer.spec() for normalizer in self.normalizers]}


@dataclass(frozen=True)
class Prepend:
    """Puts `prefix` before a text that is not empty. Llama 2 begins every text with a space."""

    prefix: str

    def __call__(self, text: str) -> str:
        return self.prefix + text if text else text

    def align(self, aligned: AlignedText) -> AlignedText:
        return aligned.prepend(self.prefix) if aligned.text else aligned

    def spec(self) -> dict[str, Any]:
        return {"type": "Prepend", "prepend": self.prefix}


@dataclass(frozen=True)
class Replace:
    """Replaces one character by another. SentencePiece writes a space as U+2581, so that it can be part of a token."""

    old: str
    new: str

    def __call__(self, text: str) -> str:
        return text.replace(self.old, self.new)

    def align(self, aligned: AlignedText) -> AlignedText:
        return AlignedText(self(aligned.text), aligned.spans)

    def spec(self) -> dict[str, Any]:
        return {"type": "Replace", "pattern": {"String": self.old}, "content": self.new}


@dataclass(frozen=True)
class CollapseSpaces:
    """Removes spaces at both ends, and all but one of several. SentencePiece calls it `remove_extra_whitespaces`."""

    def __call__(self, text: str) -> str:
        return regex.sub(" +", " ", text.strip(" "))

    def align(self, aligned: AlignedText) -> AlignedText:
        text = aligned.text
        first, last = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
        return aligned.filter([first <= i < last and text[i : i + 2] != "  " for i in range(len(text))])

    def spec(self) -> dict[str, Any]:
        raise ValueError("a tokenizer that removes extra spaces cannot be written as a tokenizer.json")


@dataclass(frozen=True)
class Lowercase:
    """Converts each character by itself, so that no capital sigma becomes the sigma of the end of Greek words."""

    def __call__(self, text: str) -> str:
        return "".join(map(str.lower, text)) if "Σ" in text else text.lower()

    def align(self, aligned: AlignedText) -> AlignedText:
        return aligned.change((new, min(i, 1)) for old in aligned.text for i, new in enumerate(old.lower()))

    def spec(self) -> dict[str, Any]:
        return {"type": "Lowercase"}


@dataclass(frozen=True)
class UnicodeForm:
    """NFC, NFD, NFKC or NFKD: one spelling for texts that look the same (Unicode Standard Annex 15).

    Marks that are newer than Unicode 9 are left alone, as Hugging Face's library does.
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

    def spec(self) -> dict[str, Any]:
        return {"type": self.form}


NEW_MARKS = regex.compile(f"([{character_class(NEW_MARK)}])")


def combining(character: str) -> int:
    """The canonical combining class; 0 for a base character, which marks may follow."""
    return 0 if NEW_MARKS.match(character) else unicodedata.combining(character)


def decompose(text: str, form: Form) -> Iterator[Change]:
    """Replace composed characters by their parts, and put marks into canonical order. `form` is NFD or NFKD."""
    marks: list[Change] = []
    for character in text:
        parts = character if NEW_MARKS.match(character) else unicodedata.normalize(form, character)
        for i, part in enumerate(parts):
            if combining(part) == 0:
                yield from sorted(marks, key=lambda mark: combining(mark[0]))
                marks.clear()
                yield part, min(i, 1)
            else:
                marks.append((part, min(i, 1)))
    yield from sorted(marks, key=lambda mark: combining(mark[0]))


def compose(changes: Iterator[Change]) -> Iterator[Change]:
    """The inverse of `decompose`: a base character and a mark become one character where there is one for both."""
    base: Change | None = None
    waiting: list[Change] = []  # marks after the base that could not be joined to it
    for character, change in changes:
        kind = combining(character)
        blocked = bool(waiting) and combining(waiting[-1][0]) >= kind
        joined = UnicodeForm("NFC")(base[0] + character) if base and not blocked else ""
        if base and len(joined) == 1:
            base = joined, base[1] + change - 1
        elif kind and base:
            waiting.append((character, change))
        elif kind:
            yield character, change
        else:
            yield from [base, *waiting] if base else []
            base, waiting = (character, change), []
    yield from [base, *waiting] if base else []
