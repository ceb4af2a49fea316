"""Decoding while the ids still arrive.

The bytes of a character may be spread over several tokens: it is held back until it is complete. With SentencePiece,
what a byte token shows may also depend on the byte tokens after it: then these ids are held back.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterable
from typing import Protocol

# models/ is above this folder and cannot be imported, so these protocols say what is needed from it.


class ByteModel(Protocol):
    """The part of a tokenizer's model that is used here."""

    def decode(self, ids: list[int], *, mid_text: bool) -> bytes: ...

    def lossy_decode(self, ids: list[int], *, mid_text: bool) -> bytes: ...

    def stable_prefix_length(self, ids: list[int]) -> int: ...


class IdsDecoder(Protocol):
    """The part of a tokenizer that is used here."""

    @property
    def model(self) -> ByteModel: ...

    def visible_ids(self, ids: Iterable[int], *, skip_special_tokens: bool) -> list[int]: ...


class StreamDecoder:
    """Give the ids to `feed` as they arrive and show the text that it returns; at the end show what `finish` returns.

    All these texts joined are what `tokenizer.decode` returns for all ids at once. It has the same options.
    """

    def __init__(self, tokenizer: IdsDecoder, errors: str = "replace", *, skip_special_tokens: bool = False):
        self.tokenizer = tokenizer
        self.errors = errors
        self.skip_special_tokens = skip_special_tokens
        self._held: list[int] = []
        self._mid_text = False
        self._decoder = getincrementaldecoder("utf-8")(errors)

    def feed(self, ids: Iterable[int]) -> str:
        """The text that `ids` complete; may be empty."""
        ids = self._held + self.tokenizer.visible_ids(ids, skip_special_tokens=self.skip_special_tokens)
        stable = self.tokenizer.model.stable_prefix_length(ids) if self.errors == "replace" else len(ids)
        self._held = ids[stable:]
        return self._decode(ids[:stable])

    def finish(self) -> str:
        """The rest: U+FFFD for a character that was never completed (with errors="replace"). Then it starts afresh."""
        text = self._decode(self._held) + self._decoder.decode(b"", final=True)
        self._held, self._mid_text = [], False
        return text

    def _decode(self, ids: list[int]) -> str:
        model = self.tokenizer.model
        decode = model.lossy_decode if self.errors == "replace" else model.decode
        data = decode(ids, mid_text=self._mid_text)
        self._mid_text = self._mid_text or bool(ids)
        return self._decoder.decode(data)
