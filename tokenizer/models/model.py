"""What a model does for a tokenizer: ordinary text (no special tokens) to ids, and ids to bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable

from tokenizer.arrays.ragged import Ragged, from_lists
from tokenizer.text.aligned_text import AlignedText, Span
from tokenizer.text.segmenter import FoundToken


class UnknownToken(KeyError, ValueError):
    """There is no such token, or no token with such an id."""

    __str__ = Exception.__str__  # a KeyError would show the sentence in quotes


class Model(ABC):
    """`tokens[id]` is the bytes of a token; None for an id that is not used. `unknown` stands for what has no token."""

    tokens: list[bytes | None]
    unknown: int | None = None

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of normalized text without added tokens. Surrogate escapes in it stand for bytes."""

    @abstractmethod
    def encode_aligned(self, text: AlignedText) -> tuple[list[int], list[Span]]:
        """The same ids, and for each the part of the original text that it stands for."""

    @abstractmethod
    def spelling(self, i: int) -> str:
        """How a `tokenizer.json` spells the token `i`."""

    def encode_many(self, texts: Iterable[str]) -> Ragged:
        """`encode` for many texts: the ids, (ids,) uint32, and how many each text has, (texts,) int64."""
        return from_lists(map(self.encode, texts))

    def cut(self, text: str, size: int) -> list[str]:
        """Parts of about `size` characters whose ids, joined, are those of `text`; [text] if that cannot be known."""
        return [text]

    def decode(self, ids: list[int], *, mid_text: bool) -> bytes:
        """The bytes of `ids`, which are ids of tokens. `mid_text`: other ids came before them."""
        return b"".join(map(self.tokens.__getitem__, ids))  # type: ignore[arg-type]  # none of them is None

    def decode_fast(self, ids: Collection[int]) -> bytes | None:
        """`decode` with arrays. None if that would not be faster, or if something is not the id of a token."""
        return None

    def lossy_decode(self, ids: list[int], *, mid_text: bool) -> bytes:
        """`decode`, with U+FFFD in place of invalid bytes if this kind of tokenizer has a rule of its own for them."""
        return self.decode(ids, mid_text=mid_text)

    def stable_prefix_length(self, ids: list[int]) -> int:
        """How many of `ids`, from the first, have a `lossy_decode` that does not depend on later ids."""
        return len(ids)

    def trim(self, ids: list[int], spans: list[Span], found: dict[int, str]) -> list[Span]:
        """The spans as this kind of tokenizer reports them. `found[k]` is the text of token k if it is an added one."""
        return spans


def encode_aligned(model: Model, segments: Iterable[AlignedText | FoundToken]) -> tuple[list[int], list[Span]]:
    """The ids of a text given as segments, and the part of the original text that each of them stands for."""
    ids: list[int] = []
    spans: list[Span] = []
    found: dict[int, str] = {}
    for segment in segments:
        if isinstance(segment, FoundToken):
            found[len(ids)] = segment.text
            ids.append(segment.id)
            spans.append(segment.span)
        else:
            more_ids, more_spans = model.encode_aligned(segment)
            ids += more_ids
            spans += more_spans
    return ids, model.trim(ids, spans, found)
