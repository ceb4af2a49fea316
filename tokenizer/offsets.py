"""Which characters of a text a token stands for: the part of all tokenizers that is about offsets.

Two questions, and the answers of two libraries: Hugging Face tells for each token of an encoding its (start, end) in
the text that was given; tiktoken tells for each token of a decoding where it begins in the text that comes out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from .aligned import Aligned, Span
from .pretokenize import well_formed


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
        for piece in self._aligned_pieces(Aligned.of(text), wanted):
            more_ids, more_spans = (
                self._encode_aligned(piece) if isinstance(piece, Aligned) else ([piece[0]], [piece[1]])
            )
            ids += more_ids
            spans += more_spans
        spans = self._trim(ids, spans, text)
        if add_special_tokens:
            return self.template.fill(ids), self.template.fill(spans, special=(0, 0))
        return ids, spans

    def _aligned_pieces(self: Any, text: Aligned, wanted: frozenset[str]) -> Iterator[Aligned | tuple[int, Span]]:
        """The same as `BaseTokenizer._pieces`, each with where it was."""
        is_first = True
        for found in self._added.find(text.text, wanted):
            if found.id is not None:
                yield found.id, text.span(found.start, found.end)
            else:
                piece = text[found.start : found.end]
                piece = self.normalizer.align(piece) if self.normalizer else piece
                for inner in self._added.find(piece.text, wanted, normalized=True):
                    if inner.id is not None:
                        yield inner.id, piece.span(inner.start, inner.end)
                    else:
                        ordinary = piece[inner.start : inner.end]
                        yield self.prefix.align(ordinary, is_first) if self.prefix else ordinary
                    is_first = False
            is_first = False

    def _trim(self, ids: list[int], spans: list[Span], text: str) -> list[Span]:
        """The spans as this kind of tokenizer shows them."""
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
