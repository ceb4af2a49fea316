"""Which characters of a text a token stands for: the part of all tokenizers that is about offsets.

Two questions, and the answers of two libraries: Hugging Face tells for each token of an encoding its (start, end) in
the text that was given; tiktoken tells for each token of a decoding where it begins in the text that comes out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import regex

from tokenizer.split.pretokenizer import well_formed
from tokenizer.text.aligned import Aligned, Span

LEADING, TRAILING = regex.compile(r"[\p{White_Space}Ġ]*"), regex.compile(r"(?r)[\p{White_Space}Ġ]*")


@dataclass(frozen=True)
class Trimming:
    """Spans without the white space at the ends of their tokens; if `keeps_first`, the first one keeps a single space
    before it, which is thought to have been put there and to stand for no character. `trim_offsets` and
    `add_prefix_space` of `process_offsets` in github.com/huggingface/tokenizers."""

    keeps_first: bool = False

    def __call__(self, token: str, span: Span, is_first: bool) -> Span:
        """The span of `token`, which is spelled as in a `tokenizer.json`: a space may be written "Ġ"."""
        start, end = span
        leading, trailing = len(LEADING.match(token).group()), len(TRAILING.search(token).group())
        if self.keeps_first and (is_first or start == 0) and leading == 1:
            leading = 0
        start = min(start + leading, end)
        return start, max(end - trailing, start) if end >= trailing else end


class FoundText(NamedTuple):
    """An added token, the text that it was found as, and where that was."""

    id: int
    text: str
    span: Span


class Offsets:
    """A mixin for `BaseTokenizer`."""

    def encode_with_offsets(
        self: Any,
        text: str,
        allowed_special: Collection[str] | str = (),
        disallowed_special: Collection[str] | str = "all",
        add_special_tokens: bool = False,
    ) -> tuple[list[int], list[Span]]:
        """The same ids as `encode`, and for each the (start, end) of the characters of `text` that it stands for. A
        token that is part of a character has the span of the whole character. Surrogates count as `well_formed` text
        has them."""
        text = well_formed(text)
        wanted = self._added.allow(allowed_special)
        self._added.refuse(text, wanted, disallowed_special)
        ids: list[int] = []
        spans: list[Span] = []
        found: dict[int, str] = {}
        for piece in self._aligned_pieces(Aligned.of(text), wanted):
            if isinstance(piece, FoundText):
                found[len(ids)] = piece.text
                ids.append(piece.id)
                spans.append(piece.span)
            else:
                more_ids, more_spans = self._encode_aligned(piece)
                ids += more_ids
                spans += more_spans
        spans = self._trim(ids, spans, found)
        if add_special_tokens:
            return self.template.fill(ids), self.template.fill(spans, special=(0, 0))
        return ids, spans

    def _aligned_pieces(self: Any, text: Aligned, wanted: frozenset[str]) -> Iterator[Aligned | FoundText]:
        """The same as `BaseTokenizer._pieces`, each with where it was."""
        is_first = True
        for found in self._added.find(text.text, wanted):
            if found.id is not None:
                yield FoundText(found.id, text.text[found.start : found.end], text.span(found.start, found.end))
            else:
                piece = text[found.start : found.end]
                piece = self.normalizer.align(piece) if self.normalizer else piece
                for inner in self._added.find(piece.text, wanted, normalized=True):
                    if inner.id is not None:
                        yield FoundText(
                            inner.id, piece.text[inner.start : inner.end], piece.span(inner.start, inner.end)
                        )
                    else:
                        ordinary = piece[inner.start : inner.end]
                        yield self.prefix.align(ordinary, is_first) if self.prefix else ordinary
                    is_first = False
            is_first = False

    def _trim(self, ids: list[int], spans: list[Span], found: Mapping[int, str]) -> list[Span]:
        """The spans as this kind of tokenizer shows them. `found[k]` is the text of token k if that is an added one."""
        return spans

    def decode_with_offsets(self: Any, ids: Sequence[int]) -> tuple[str, list[int]]:
        """The text of `ids`, and for each token the index of the first character that it has a part of. The ids must
        be of whole characters: otherwise UnicodeDecodeError."""
        parts = self.decode_tokens_bytes(ids)
        text = b"".join(parts).decode("utf-8")
        offsets, characters = [], 0
        for part in parts:
            begins_within = bool(part) and is_continuation(part[0])
            offsets.append(max(0, characters - begins_within))
            characters += sum(not is_continuation(byte) for byte in part)
        return text, offsets


def is_continuation(byte: int) -> bool:
    """Whether a byte of UTF-8 is inside a character, not at its beginning."""
    return 0x80 <= byte < 0xC0
