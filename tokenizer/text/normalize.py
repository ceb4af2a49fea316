"""Normalizers: what some tokenizers do to a text before it is cut into words.

Each is called with a text and returns the new one; `align` does the same to a text that keeps track of where its
characters came from (slower, for offsets); `spec` is how a `tokenizer.json` spells it. They do what the normalizers of
github.com/huggingface/tokenizers do.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import regex

from tokenizer.text.aligned import Aligned, Change
from tokenizer.text.peer_unicode import BERT_CONTROL, BERT_MARK, NEW_MARK

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]


def character_class(ranges: str) -> str:
    """A class of regular expressions from ranges of code points in hexadecimal, without its brackets."""
    return "".join("-".join(rf"\U{code:0>8}" for code in part.split("-")) for part in ranges.split())


class Normalizer(Protocol):
    def __call__(self, text: str) -> str: ...

    def align(self, aligned: Aligned) -> Aligned: ...

    def spec(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Sequence:
    """One after the other."""

    normalizers: tuple[Normalizer, ...]

    def __call__(self, text: str) -> str:
        for normalizer in self.normalizers:
            text = normalizer(text)
        return text

    def align(self, aligned: Aligned) -> Aligned:
        for normalizer in self.normalizers:
            aligned = normalizer.align(aligned)
        return aligned

    def spec(self) -> dict[str, Any]:
        return {"type": "Sequence", "normalizers": [normalizer.spec() for normalizer in self.normalizers]}


@dataclass(frozen=True)
class Prepend:
    """Put `prefix` before a text, unless that is empty. Llama 2 begins every text with a space."""

    prefix: str

    def __call__(self, text: str) -> str:
        return self.prefix + text if text else text

    def align(self, aligned: Aligned) -> Aligned:
        return aligned.prepend(self.prefix) if aligned.text else aligned

    def spec(self) -> dict[str, Any]:
        return {"type": "Prepend", "prepend": self.prefix}


@dataclass(frozen=True)
class Replace:
    """One character by another. SentencePiece writes a space as U+2581, so that it can be part of a token."""

    old: str
    new: str

    def __call__(self, text: str) -> str:
        return text.replace(self.old, self.new)

    def align(self, aligned: Aligned) -> Aligned:
        return Aligned(self(aligned.text), aligned.spans)

    def spec(self) -> dict[str, Any]:
        return {"type": "Replace", "pattern": {"String": self.old}, "content": self.new}


@dataclass(frozen=True)
class CollapseSpaces:
    """No spaces at the ends, one where there were several: SentencePiece's `remove_extra_whitespaces`."""

    def __call__(self, text: str) -> str:
        return regex.sub(" +", " ", text.strip(" "))

    def align(self, aligned: Aligned) -> Aligned:
        text = aligned.text
        first, last = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
        return aligned.keep([first <= i < last and text[i : i + 2] != "  " for i in range(len(text))])

    def spec(self) -> dict[str, Any]:
        raise ValueError("a tokenizer that removes extra spaces cannot be written as a tokenizer.json")


@dataclass(frozen=True)
class Lowercase:
    """Each character for itself: a capital sigma at the end of a word too becomes the sigma of its middle."""

    def __call__(self, text: str) -> str:
        return "".join(map(str.lower, text)) if "Σ" in text else text.lower()

    def align(self, aligned: Aligned) -> Aligned:
        return aligned.change((new, min(i, 1)) for old in aligned.text for i, new in enumerate(old.lower()))

    def spec(self) -> dict[str, Any]:
        return {"type": "Lowercase"}


@dataclass(frozen=True)
class UnicodeForm:
    """NFC, NFD, NFKC or NFKD: one spelling for texts that look the same. Unicode Standard Annex 15. Marks that are
    newer than Unicode 9 stay where they are."""

    form: Form

    def __call__(self, text: str) -> str:
        if text.isascii() or unicodedata.is_normalized(self.form, text):  # and so are all of its parts
            return text
        parts = NEW.split(text)  # odd places hold the new marks
        for i in range(0, len(parts), 2):
            parts[i] = unicodedata.normalize(self.form, parts[i])
        return "".join(parts)

    def align(self, aligned: Aligned) -> Aligned:
        if self(aligned.text) == aligned.text:
            return aligned
        changes = decompose(aligned.text, "NFKD" if "K" in self.form else "NFD")
        return aligned.change(compose(changes) if self.form.endswith("C") else changes)

    def spec(self) -> dict[str, Any]:
        return {"type": self.form}


NEW = regex.compile(f"([{character_class(NEW_MARK)}])")


def combining(character: str) -> int:
    """The canonical combining class: 0 for a character that marks may follow."""
    return 0 if NEW.match(character) else unicodedata.combining(character)


def decompose(text: str, form: Form) -> Iterator[Change]:
    """The characters that those of `text` consist of, marks in canonical order; `form` is NFD or NFKD."""
    marks: list[Change] = []
    for character in text:
        parts = character if NEW.match(character) else unicodedata.normalize(form, character)
        for i, part in enumerate(parts):
            if combining(part) == 0:
                yield from sorted(marks, key=lambda mark: combining(mark[0]))
                marks.clear()
                yield part, min(i, 1)
            else:
                marks.append((part, min(i, 1)))
    yield from sorted(marks, key=lambda mark: combining(mark[0]))


def compose(changes: Iterator[Change]) -> Iterator[Change]:
    """Join marks to the base character before them where there is a character for both; the inverse of `decompose`."""
    base: Change | None = None
    waiting: list[Change] = []  # marks after the base that did not join
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


@dataclass(frozen=True)
class BertNormalizer:
    """Clean text, spaces around Chinese characters, no accents, lower case. `strip_accents` None: as `lowercase`.
    Source: `BasicTokenizer` of github.com/google-research/bert, tokenization.py; the classes of characters are those of
    Unicode 8, as in Hugging Face's library."""

    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True

    def __call__(self, text: str) -> str:
        if self.clean_text:
            text = WHITE_SPACE.sub(" ", CONTROL.sub("", text))
        if self.handle_chinese_chars:
            text = CHINESE.sub(r" \g<0> ", text)
        if self.strips_accents:
            text = ACCENT.sub("", UnicodeForm("NFD")(text))
        return Lowercase()(text) if self.lowercase else text

    @property
    def strips_accents(self) -> bool:
        return self.lowercase if self.strip_accents is None else self.strip_accents

    def align(self, aligned: Aligned) -> Aligned:
        if self.clean_text:
            aligned = aligned.keep([not CONTROL.match(character) for character in aligned.text])
            aligned = Aligned(WHITE_SPACE.sub(" ", aligned.text), aligned.spans)
        if self.handle_chinese_chars:
            aligned = aligned.change(change for character in aligned.text for change in spaced(character))
        if self.strips_accents:
            aligned = UnicodeForm("NFD").align(aligned)
            aligned = aligned.keep([not ACCENT.match(character) for character in aligned.text])
        return Lowercase().align(aligned) if self.lowercase else aligned

    def spec(self) -> dict[str, Any]:
        return {"type": "BertNormalizer", **vars(self)}


CONTROL = regex.compile(f"[{character_class(BERT_CONTROL)}]")
WHITE_SPACE = regex.compile(r"\p{White_Space}")
ACCENT = regex.compile(f"[{character_class(BERT_MARK)}]")
CHINESE = regex.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f]"
)


def spaced(character: str) -> list[Change]:
    return [(" ", 0), (character, 1), (" ", 1)] if CHINESE.match(character) else [(character, 0)]
