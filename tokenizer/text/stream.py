"""Decoding as the ids arrive. A character may be spread over several tokens; it is held back until it is whole. Where
what a token shows depends on the next one, as in a row of byte tokens of SentencePiece, the token is."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterable
from typing import Protocol


class DecodesBytes(Protocol):
    def shown_ids(self, ids: Iterable[int], skip_special_tokens: bool) -> list[int]: ...

    def decode_bytes(self, ids: list[int], *, continues: bool) -> bytes: ...

    def readable_bytes(self, ids: list[int], continues: bool) -> bytes: ...

    def settled(self, ids: list[int]) -> int: ...


class StreamDecoder:
    """`feed` ids as they come and show what it returns; all of it joined, `finish()` included, is what
    `tokenizer.decode` gives for all ids at once, however they were split. The options are those of `decode`."""

    def __init__(self, tokenizer: DecodesBytes, errors: str = "replace", skip_special_tokens: bool = False):
        self.tokenizer = tokenizer
        self.errors = errors
        self.skip_special_tokens = skip_special_tokens
        self._held: list[int] = []
        self._continues = False
        self._decoder = getincrementaldecoder("utf-8")(errors)

    def feed(self, ids: Iterable[int]) -> str:
        """The text that `ids` complete; may be empty."""
        ids = self._held + self.tokenizer.shown_ids(ids, self.skip_special_tokens)
        settled = self.tokenizer.settled(ids) if self.errors == "replace" else len(ids)
        self._held = ids[settled:]
        return self._show(ids[:settled])

    def finish(self) -> str:
        """What is left of a character that never became whole (U+FFFD, with errors="replace"). Then starts afresh."""
        text = self._show(self._held) + self._decoder.decode(b"", final=True)
        self._held, self._continues = [], False
        return text

    def _show(self, ids: list[int]) -> str:
        if self.errors == "replace":
            data = self.tokenizer.readable_bytes(ids, continues=self._continues)
        else:
            data = self.tokenizer.decode_bytes(ids, continues=self._continues)
        self._continues = self._continues or bool(ids)
        return self._decoder.decode(data)
