"""The interface of a model, the part of a tokenizer that encodes ordinary text (without special tokens)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from operator import index
from typing import Any, SupportsIndex

from tokenizer.arrays.ragged import Ragged, from_lists
from tokenizer.text.aligned_text import AlignedText, Span
from tokenizer.text.segmenter import FoundToken


class UnknownToken(KeyError, ValueError):
    """There is no token with this name or this id."""

    __str__ = Exception.__str__  # that of KeyError would put the sentence in quotes


def as_list(ids: Any) -> list[int]:
    """The ids of a list, an array or an iterable as a list of int. TypeError if they are anything but whole numbers."""
    try:
        ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        return list(map(index, ids))
    except TypeError:
        # It is still no list if it is a single number.
        wrong = next(i for i in ids if not isinstance(i, SupportsIndex)) if isinstance(ids, list) else ids
        raise TypeError(f"ids are a list of whole numbers, such as [1, 2]: {wrong!r:.60} does not fit") from None


def known_ids(ids: Any, tokens: Sequence[bytes | None]) -> list[int]:
    """`as_list`; UnknownToken if an id has no token."""
    numbers = as_list(ids)
    if numbers and (min(numbers) < 0 or max(numbers) >= len(tokens) or None in map(tokens.__getitem__, numbers)):
        stray = next(i for i in numbers if not 0 <= i < len(tokens) or tokens[i] is None)
        raise UnknownToken(f"there is no token with id {stray}: ids go from 0 to {len(tokens) - 1}")
    return numbers


class Model(ABC):
    """`tokens[id]` are the bytes of a token, or None if the id is not used. `unknown` is the id for text that no other
    token stands for, or None.

    Only the first three methods must be defined. The others are for models that can do something faster or differently.
    """

    tokens: list[bytes | None]
    unknown: int | None = None

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of normalized text without added tokens. Surrogate escapes in it stand for bytes."""

    @abstractmethod
    def encode_aligned(self, text: AlignedText) -> tuple[list[int], list[Span]]:
        """The same ids, and for each of them its span in the original text."""

    @abstractmethod
    def spelling(self, i: int) -> str:
        """How a `tokenizer.json` spells the token `i`. For an added token: `special_tokens.normalized_name`."""

    def encode_segments(self, segments: Iterable[str | int]) -> list[int]:
        """`encode` of each text, and the ids of added tokens between them, in one list."""
        ids: list[int] = []
        for segment in segments:
            if isinstance(segment, int):
                ids.append(segment)
            else:
                ids += self.encode(segment)
        return ids

    def encode_many(self, texts: Iterable[str]) -> Ragged:
        """`encode` for many texts. Returns all ids, one text after another, (ids,) uint32, and the number of ids of
        each text, (texts,) int64."""
        return from_lists(map(self.encode, texts))

    def cut(self, text: str, size: int) -> list[str]:
        """Parts of about `size` characters whose ids, joined, are those of `text`. [text] if there is no safe cut."""
        return [text]

    def decode(self, ids: list[int], *, mid_text: bool) -> bytes:
        """The bytes of `ids`, all of which are tokens. `mid_text`: they are not the beginning of a text."""
        return b"".join(map(self.tokens.__getitem__, ids))  # type: ignore[arg-type]  # none of them is None

    def decode_fast(self, ids: Collection[int]) -> bytes | None:
        """`decode` with arrays. None if that is not faster, or if `ids` contains something that is not an id."""
        return None

    def lossy_decode(self, ids: list[int], *, mid_text: bool) -> bytes:
        """`decode` for a text in which U+FFFD replaces invalid bytes. A model may replace them here in its own way."""
        return self.decode(ids, mid_text=mid_text)

    def stable_prefix_length(self, ids: list[int]) -> int:
        """How many ids at the beginning have a text that stays the same, whatever ids come after `ids`."""
        return len(ids)

    def trim(self, ids: list[int], spans: list[Span], added_texts: dict[int, str]) -> list[Span]:
        """Shorten the spans, if this kind of tokenizer leaves the spaces at the edges of a token out of its span.

        If ids[k] is an added token, `added_texts[k]` is its text.
        """
        return spans


def encode_aligned(
    model: Model, segments: Iterable[AlignedText | FoundToken], *, trims: bool = True
) -> tuple[list[int], list[Span]]:
    """The ids of a text that is given as segments, and for each id its span in the original text.

    `trims`: without the spaces at the edges, if this kind of tokenizer leaves them out.
    """
    ids: list[int] = []
    spans: list[Span] = []
    added_texts: dict[int, str] = {}  # index in `ids` -> the text of the added token
    for segment in segments:
        if isinstance(segment, FoundToken):
            added_texts[len(ids)] = segment.text
            ids.append(segment.id)
            spans.append(segment.span)
        else:
            more_ids, more_spans = model.encode_aligned(segment)
            ids += more_ids
            spans += more_spans
    return ids, model.trim(ids, spans, added_texts) if trims else spans
