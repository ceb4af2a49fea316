"""Decoding as the ids arrive. A character may be spread over several tokens; it is held back until it is whole."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterable
from typing import Protocol


class DecodesBytes(Protocol):
    def decode_bytes(self, ids: Iterable[int]) -> bytes: ...


class StreamDecoder:
    """`feed` ids as they come and show what it returns; all of it joined, `finish()` included, is what
    `tokenizer.decode` gives for all ids at once, however they were split. `errors` is as for `decode`."""

    def __init__(self, tokenizer: DecodesBytes, errors: str = "replace"):
        self.tokenizer = tokenizer
        self._decoder = getincrementaldecoder("utf-8")(errors)

    def feed(self, ids: Iterable[int]) -> str:
        """The text that `ids` complete; may be empty."""
        return self._decoder.decode(self.tokenizer.decode_bytes(ids))

    def finish(self) -> str:
        """What is left of a character that never became whole (U+FFFD, with errors="replace"). Then starts afresh."""
        return self._decoder.decode(b"", final=True)
