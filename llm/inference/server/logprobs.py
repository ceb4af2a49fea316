"""Log-probabilities of tokens, in the two forms of OpenAI's API."""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import Any

from llm.inference.engine.requests import Token
from llm.inference.server.choices import Shown
from llm.inference.server.request_parameters import RequestParameters
from llm.inference.server.service import Prompt
from llm.inference.server.token_names import TokenNames
from tokenizer import StreamDecoder

LEAST = -9999.0  # JSON has no infinity; OpenAI writes this too


class LogprobLists:
    """Completions: lists with a place for each token. A text comes in pieces, and the offsets go on."""

    def __init__(self, names: TokenNames, parameters: RequestParameters, prompt: Prompt):
        self.names, self.top = names, parameters.top_logprobs
        self.hidden = prompt.begin if parameters.echo else 0  # tokens that have no text
        is_inside = not parameters.echo and len(prompt.ids) > prompt.begin
        self.decoder, self.offset = StreamDecoder(names.tokenizer, mid_text=is_inside), 0

    def feed(self, shown: Shown) -> dict[str, list[Any]] | None:
        """The lists for a piece; None if they are not asked for."""
        if self.top is None:
            return None
        # The token at the end belongs to them, but has no text: programs that score texts ask for one token more than
        # the text has, and expect its entry.
        tokens = [*shown.tokens, *([] if shown.end is None else [shown.end])]
        return {
            "tokens": [self.names.text_of(token.id) for token in tokens],
            "token_logprobs": [logprob_of(token) for token in tokens],
            "top_logprobs": [self._alternatives(token) for token in tokens],
            "text_offset": [*map(self._place, shown.tokens), *([] if shown.end is None else [self._end()])],
            # Not in OpenAI's API: with the ids, a client can continue the text from another token.
            "token_ids": [token.id for token in tokens],
            "top_ids": [self._ids(token) for token in tokens],
        }

    def _alternatives(self, token: Token) -> dict[str, float] | None:
        """The most likely tokens, and the token itself."""
        if token.logprob is None:
            return None
        found: dict[str, float] = {}
        for id, logprob in (*token.top, (token.id, token.logprob)):
            found.setdefault(self.names.text_of(id), max(logprob, LEAST))  # two ids may have the same text
        return found

    def _ids(self, token: Token) -> dict[str, int] | None:
        """The ids of the alternatives."""
        if token.logprob is None or not self.top:
            return None
        found: dict[str, int] = {}
        for id in (*(id for id, _ in token.top), token.id):
            found.setdefault(self.names.text_of(id), id)
        return found

    def _place(self, token: Token) -> int:
        """Where the token begins in the text. One that begins within a character: where this character begins."""
        before = self.offset
        if self.hidden:
            self.hidden -= 1
            return before
        completed, data = self.decoder.feed([token.id]), self.names.bytes_of(token.id)
        self.offset += len(completed)
        if begins_within_character(data):
            return before
        # What is completed may begin with characters of earlier tokens: U+FFFD for bytes that never became one.
        own = getincrementaldecoder("utf-8")("replace").decode(data)
        return before + max(len(completed) - len(own), 0)

    def _end(self) -> int:
        return self.offset + len(self.decoder.finish())


def chat_logprobs(names: TokenNames, tokens: list[Token]) -> dict[str, Any]:
    """Chat: an object for each token. The ids are not in OpenAI's API; the page continues a text from them."""

    def described(id: int, logprob: float) -> dict[str, Any]:
        data = list(names.bytes_of(id))
        return {"id": id, "token": names.text_of(id), "logprob": max(logprob, LEAST), "bytes": data}

    def entry(token: Token) -> dict[str, Any]:
        assert token.logprob is not None
        return described(token.id, token.logprob) | {"top_logprobs": [described(*each) for each in token.top]}

    return {"content": [entry(token) for token in tokens], "refusal": None}


def begins_within_character(data: bytes) -> bool:
    return 0x80 <= data[0] < 0xC0 if data else False


def logprob_of(token: Token) -> float | None:
    return None if token.logprob is None else max(token.logprob, LEAST)
