"""A text in which each character remembers which part of the original text it stands for.

Offsets refer to the text that the caller gave, but tokens are made from what a normalizer has made of it. Which
character stands for what follows `NormalizedString` in github.com/huggingface/tokenizers: an inserted character stands
for what the one before it stands for, and one that replaces several stands for the first of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # the first character and the one after the last
Change = tuple[str, int]  # a character; 1: it is inserted, 0: it replaces one, -n: it replaces one and removes n more


@dataclass
class AlignedText:
    """`spans[i]` is the part of the original text that `text[i]` stands for."""

    text: str
    spans: list[Span]

    @classmethod
    def of(cls, text: str, start: int = 0) -> AlignedText:
        """An unchanged text, which begins at `start` of the original."""
        return cls(text, [(i, i + 1) for i in range(start, start + len(text))])

    def __getitem__(self, part: slice) -> AlignedText:
        return AlignedText(self.text[part], self.spans[part])

    def span(self, start: int, end: int) -> Span:
        """The part of the original text that `text[start:end]` (not empty) stands for."""
        return self.spans[start][0], self.spans[end - 1][1]

    def change(self, changes: Iterable[Change]) -> AlignedText:
        """The text made of the characters in `changes`."""
        characters, spans, i = [], [], 0
        for character, change in changes:
            if change <= 0:
                span = self.spans[i]
                i += 1 - change
            else:
                span = self.spans[i - 1] if i else (self.spans[0][0],) * 2
            characters.append(character)
            spans.append(span)
        return AlignedText("".join(characters), spans)

    def filter(self, is_kept: Sequence[bool]) -> AlignedText:
        """Only the characters for which `is_kept` is true."""
        text = "".join(character for character, keep in zip(self.text, is_kept) if keep)
        return AlignedText(text, [span for span, keep in zip(self.spans, is_kept) if keep])

    def prepend(self, prefix: str) -> AlignedText:
        """`prefix`, then the text. The prefix stands for what the first character stands for."""
        return AlignedText(prefix + self.text, [self.spans[0]] * len(prefix) + self.spans)
