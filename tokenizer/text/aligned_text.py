"""A text in which each character remembers which part of the original text it stands for.

Offsets of tokens refer to the text that the caller gave, but tokens are made from normalized text. The rules are those
of `NormalizedString` in github.com/huggingface/tokenizers: an inserted character stands for what the character before
it stands for, and a character that replaces several stands for the first of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # the first character and the one after the last

# A character of the new text, and a number: 1 if it is inserted, 0 if it replaces one character of the old text, -n if
# it replaces one and n more are removed. "ä" -> "a", "¨" is [("a", 0), ("¨", 1)], and back it is [("ä", -1)].
Change = tuple[str, int]


@dataclass
class AlignedText:
    """`spans[i]` is the part of the original text that `text[i]` stands for."""

    text: str
    spans: list[Span]

    @classmethod
    def of(cls, text: str) -> AlignedText:
        """An unchanged text: each character stands for itself."""
        return cls(text, [(i, i + 1) for i in range(len(text))])

    def __str__(self) -> str:
        return self.text

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
            elif i > 0:
                span = self.spans[i - 1]
            else:  # inserted before the first character: it stands for nothing
                span = (self.spans[0][0], self.spans[0][0])
            characters.append(character)
            spans.append(span)
        return AlignedText("".join(characters), spans)

    def filter(self, keep: Sequence[bool]) -> AlignedText:
        """Only the characters for which `keep` is true."""
        kept = [i for i, is_kept in enumerate(keep) if is_kept]
        return AlignedText("".join(self.text[i] for i in kept), [self.spans[i] for i in kept])

    def prepend(self, prefix: str) -> AlignedText:
        """`prefix`, then the text. The prefix stands for what the first character stands for."""
        return AlignedText(prefix + self.text, [self.spans[0]] * len(prefix) + self.spans)
