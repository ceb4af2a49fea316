"""Decoding while the ids still arrive.

The bytes of a character may be spread over several tokens. The character is held back until it is complete. With
SentencePiece, the text of a byte token may depend on the byte tokens after it. So such ids are held back too.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterable
from typing import Any


class StreamDecoder:
    """Give the ids to `feed` as they arrive and show the text that it returns; at the end show what `finish` returns.

    All these texts joined are what `tokenizer.decode` returns for all ids at once. It has the same options.
    `mid_text`: the ids continue a text, so that SentencePiece does not leave out their first space.
    """

    def __init__(
        self, tokenizer: Any, errors: str = "replace", *, skip_special_tokens: bool = False, mid_text: bool = False
    ):
        self.tokenizer = tokenizer  # a BaseTokenizer; models/ is above this folder and cannot be imported here
        self.errors = errors
        self.skip_special_tokens = skip_special_tokens
        self._held: list[int] = []  # ids whose text may still depend on the next ones
        # Whether there is text before the next ids: SentencePiece leaves out the first space of a text.
        self._begins_mid_text = self._mid_text = mid_text
        self._decoder = getincrementaldecoder("utf-8")(errors)  # holds back an incomplete character

    def feed(self, ids: Iterable[int]) -> str:
        """The text that `ids` complete; may be empty."""
        waiting = self._held + self.tokenizer.visible_ids(ids, skip_special_tokens=self.skip_special_tokens)
        replaces = self.errors == "replace"
        stable = self.tokenizer.model.stable_prefix_length(waiting) if replaces else len(waiting)
        self._held = waiting[stable:]
        return self._decode(waiting[:stable])

    def finish(self) -> str:
        """The rest of the text. A character that was never completed is U+FFFD if `errors` is "replace".

        After that, the decoder is ready for another text.
        """
        text = self._decode(self._held) + self._decoder.decode(b"", final=True)
        self._held, self._mid_text = [], self._begins_mid_text
        return text

    def _decode(self, ids: list[int]) -> str:
        model = self.tokenizer.model
        decode = model.lossy_decode if self.errors == "replace" else model.decode
        data = decode(ids, mid_text=self._mid_text)
        self._mid_text = self._mid_text or bool(ids)
        return self._decoder.decode(data)
