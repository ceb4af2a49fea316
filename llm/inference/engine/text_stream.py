"""The tokens of a generation as text, piece by piece, each piece with the tokens whose text it is.

Some text has to wait: a character whose bytes are spread over several tokens (the tokenizer's StreamDecoder waits for
the last of them), and text that may be the beginning of a stop string. The tokens of such text wait with it. So what
has been shown is never taken back, and of a stop string neither text nor tokens are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llm.inference.engine.requests import Token
from llm.inference.engine.stop_strings import StopStrings
from tokenizer import BaseTokenizer, StreamDecoder


class Piece(NamedTuple):
    """Some text, and the tokens that end in it. Either can be empty."""

    text: str
    tokens: list[Token]


class TextStream:
    """Give the tokens to `feed` as they come, until `found_stop`; at the end, call `finish`.

    `mid_text`: the tokens continue a text, such as a prompt. `skip_special_tokens`: special tokens have no text.
    """

    def __init__(
        self,
        tokenizer: BaseTokenizer,
        stop: Sequence[str] = (),
        *,
        mid_text: bool = False,
        skip_special_tokens: bool = False,
    ):
        self._decoder = StreamDecoder(tokenizer, skip_special_tokens=skip_special_tokens, mid_text=mid_text)
        self._stops = StopStrings(stop)
        self._decoded = 0  # characters
        self._shown = 0  # characters
        self._waiting: list[
            tuple[int, Token]
        ] = []  # tokens not shown yet, each with the place in the text where it ends

    @property
    def found_stop(self) -> bool:
        """Whether the text has ended before a stop string."""
        return self._stops.found

    def feed(self, tokens: Iterable[Token]) -> Piece:
        """What can be shown now."""
        text = ""
        for token in tokens:
            if self.found_stop:
                break
            completed = self._decoder.feed([token.id])
            self._decoded += len(completed)
            # A token that completes no character ends within the next one.
            self._waiting.append((self._decoded + (not completed), token))
            text += self._stops.feed(completed)
        return self._show(text)

    def finish(self) -> Piece:
        """The rest, after the last token."""
        if self.found_stop:
            return Piece("", [])
        text = self._stops.feed(self._decoder.finish())
        if self.found_stop:
            return self._show(text)
        rest = text + self._stops.finish()
        return Piece(rest, [token for _, token in self._waiting])

    def _show(self, text: str) -> Piece:
        """The text, with the tokens that end in it."""
        self._shown += len(text)
        shown = [token for end, token in self._waiting if end <= self._shown]
        self._waiting = self._waiting[len(shown) :]
        return Piece(text, shown)
