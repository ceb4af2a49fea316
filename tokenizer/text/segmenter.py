"""A text as segments: the ids of added tokens, and the ordinary text between them as it is to be encoded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from tokenizer.split.pretokenizer import well_formed
from tokenizer.text.aligned_text import AlignedText, Span
from tokenizer.text.normalize import Normalizer
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import AddedTokens

Special = Collection[str] | str  # names of special tokens, or "all"


class FoundToken(NamedTuple):
    """An added token, the text in which it was recognised, and the span of that in the original text."""

    id: int
    text: str
    span: Span


class Segmenter:
    """Finds added tokens, normalizes the text between them, and puts a prefix before it."""

    def __init__(self, added: AddedTokens, normalizer: Normalizer | None = None, prefix: Prefix | None = None):
        self.added = added
        self.normalizer = normalizer
        self.prefix = prefix

    def segments(self, text: str, allowed: Special, disallowed: Special) -> Iterator[str | int]:
        """The ids of added tokens, and ordinary text (never empty)."""
        return self._segments(*self._checked(text, allowed, disallowed))

    def segments_of_bytes(self, data: bytes) -> Iterator[str | int]:
        """The same for any bytes, without special tokens. Bytes that are not UTF-8 become surrogate escapes."""
        return self._segments(data.decode("utf-8", "surrogateescape"), self.added.names(()))

    def _checked(self, text: str, allowed: Special, disallowed: Special) -> tuple[str, frozenset[str]]:
        """The text, well-formed, and the names of the added tokens to look for. ValueError for disallowed tokens."""
        text = well_formed(text)
        names = self.added.names(allowed)
        self.added.check(text, names, disallowed)
        return text, names

    def _segments(self, text: str, names: frozenset[str]) -> Iterator[str | int]:
        is_first = True
        for outer in self.added.split(text, names):
            if outer.id is not None:
                yield outer.id
            else:
                ordinary = text[outer.start : outer.end]
                ordinary = self.normalizer(ordinary) if self.normalizer else ordinary
                # Some added tokens are looked for in the normalized text only.
                for inner in self.added.split(ordinary, names, normalized=True):
                    if inner.id is not None:
                        yield inner.id
                    else:
                        segment = ordinary[inner.start : inner.end]
                        yield self.prefix(segment, is_first=is_first) if self.prefix else segment
                    is_first = False
            is_first = False

    def aligned_segments(self, text: str, allowed: Special, disallowed: Special) -> Iterator[AlignedText | FoundToken]:
        """The segments of `text`, which remember where they were in it."""
        text, names = self._checked(text, allowed, disallowed)
        aligned, is_first = AlignedText.of(text), True
        for outer in self.added.split(text, names):
            ordinary = aligned[outer.start : outer.end]
            if outer.id is not None:
                yield FoundToken(outer.id, ordinary.text, aligned.span(outer.start, outer.end))
            else:
                ordinary = self.normalizer.align(ordinary) if self.normalizer else ordinary
                for inner in self.added.split(ordinary.text, names, normalized=True):
                    segment = ordinary[inner.start : inner.end]
                    if inner.id is not None:
                        yield FoundToken(inner.id, segment.text, ordinary.span(inner.start, inner.end))
                    else:
                        yield self.prefix.align(segment, is_first=is_first) if self.prefix else segment
                    is_first = False
            is_first = False
