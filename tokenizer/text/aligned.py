"""A text that was changed, and for each of its characters the part of the original text that it stands for.

Offsets are told in the text that the caller gave, but tokens are cut from what a normalizer made of it. The rules for
who stands for what are those of `NormalizedString` in github.com/huggingface/tokenizers: a character put in stands
for what the one before it stands for, one that replaces several stands for the first of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # first character and the one after the last
Change = tuple[str, int]  # a character; 1: it is put in, 0: it replaces one, -n: it replaces one and n after it go


@dataclass
class Aligned:
    """`spans[i]` is the part of the original text that `text[i]` stands for."""

    text: str
    spans: list[Span]

    @classmethod
    def of(cls, text: str, start: int = 0) -> Aligned:
        """An unchanged text, which begins at `start` of the original."""
        return cls(text, [(i, i + 1) for i in range(start, start + len(text))])

    def __getitem__(self, part: slice) -> Aligned:
        return Aligned(self.text[part], self.spans[part])

    def span(self, start: int, end: int) -> Span:
        """The part of the original text that `text[start:end]`, at least one character, stands for."""
        return self.spans[start][0], self.spans[end - 1][1]

    def change(self, changes: Iterable[Change], removed: int = 0) -> Aligned:
        """The text made of the characters in `changes`, after the first `removed` ones were taken away."""
        characters, spans, i = [], [], removed
        for character, change in changes:
            if change <= 0:
                span = self.spans[i]
                i += 1 - change
            else:
                span = self.spans[i - 1] if i else (self.spans[0][0],) * 2
            characters.append(character)
            spans.append(span)
        return Aligned("".join(characters), spans)

    def keep(self, kept: Sequence[bool]) -> Aligned:
        """Only the characters where `kept` is true."""
        text = "".join(character for character, keep in zip(self.text, kept) if keep)
        return Aligned(text, [span for span, keep in zip(self.spans, kept) if keep])

    def prepend(self, prefix: str) -> Aligned:
        """`prefix`, then the text; it stands for what the first character stands for."""
        return Aligned(prefix + self.text, [self.spans[0]] * len(prefix) + self.spans)
