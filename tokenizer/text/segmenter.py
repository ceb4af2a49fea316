"""Divides a text into segments: the ids of added tokens, and the ordinary text between them, ready for the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from tokenizer.split.pretokenizer import well_formed
from tokenizer.text.aligned_text import AlignedText, Span
from tokenizer.text.normalize import Normalizer
from tokenizer.text.special_tokens import AddedTokens, Choice

Special = Collection[str] | str  # names of special tokens, or "all"


class FoundToken(NamedTuple):
    """An added token, the text that was recognised as this token, and the span of that text in the original text."""

    id: int
    text: str
    span: Span


class Segmenter:
    """Finds added tokens, normalizes the text between them, and puts a prefix before it."""

    def __init__(
        self, added: AddedTokens, normalizer: Normalizer | None = None, prefix: Callable[..., str] | None = None
    ):
        self.added = added
        self.normalizer = normalizer
        self.prefix = prefix

    def segments(self, text: str, allowed: Special, disallowed: Special) -> Iterator[str | int]:
        """The ids of added tokens, and ordinary text (never empty). ValueError if `text` has a disallowed token."""
        return self._split(*self._check(text, allowed, disallowed))

    def segments_of_bytes(self, data: bytes) -> Iterator[str | int]:
        """The same for any bytes, without special tokens. Bytes that are not UTF-8 become surrogate escapes."""
        if isinstance(data, str):
            raise TypeError("data is bytes, not str (encode_ordinary takes a text)")
        return self._split(bytes(data).decode("utf-8", "surrogateescape"), self.added.choice(()))

    def aligned_segments(self, text: str, allowed: Special, disallowed: Special) -> Iterator[AlignedText | FoundToken]:
        """The same segments, which remember where they were in `text`."""
        text, choice = self._check(text, allowed, disallowed)
        return self._split(AlignedText.of(text), choice)

    def _check(self, text: str, allowed: Special, disallowed: Special) -> tuple[str, Choice]:
        """The text, well-formed, and the added tokens to look for."""
        text = well_formed(text)
        choice = self.added.choice(allowed)
        self.added.check(text, choice, disallowed)
        return text, choice

    def _split(self, text: Any, choice: Choice) -> Iterator[Any]:
        """The segments of `text`, which is a str or an AlignedText."""
        is_first = True
        for i, start, end in self.added.split(str(text), choice):
            segment = text[start:end]
            if i is not None:
                yield found_token(i, segment)
            else:
                ordinary = apply(self.normalizer, segment) if self.normalizer else segment
                # Some added tokens are looked for in the normalized text only.
                for inner, first, last in self.added.split(str(ordinary), choice, normalized=True):
                    segment = ordinary[first:last]
                    if inner is not None:
                        yield found_token(inner, segment)
                    else:
                        yield apply(self.prefix, segment, is_first=is_first) if self.prefix else segment
                    is_first = False
            is_first = False


def apply(step: Any, text: Any, **options: Any) -> Any:
    """What a normalizer or a prefix makes of a str or an AlignedText."""
    return step(text, **options) if isinstance(text, str) else step.align(text, **options)


def found_token(i: int, text: Any) -> int | FoundToken:
    return i if isinstance(text, str) else FoundToken(i, text.text, text.span(0, len(text.text)))
