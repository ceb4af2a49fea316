"""From tokens to what is shown of a text. An answer in one piece and a stream of pieces are made by the same code."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from llm.inference.engine.requests import Token
from llm.inference.engine.text_stream import TextStream
from llm.inference.server.errors import Refusal
from llm.inference.server.request_parameters import RequestParameters
from llm.inference.server.service import Prompt, Service
from llm.inference.server.worker import Job, Update
from tokenizer import BaseTokenizer, UnknownToken


class Shown(NamedTuple):
    """A piece of the text of choice number `choice`, and the tokens that end in it."""

    choice: int
    text: str
    tokens: list[Token]
    finish_reason: str | None = None
    end: Token | None = None  # the token that ended the text, which has no text


class Choice:
    """One of the texts of an answer."""

    def __init__(self, index: int, prompt: Prompt, tokenizer: BaseTokenizer, parameters: RequestParameters):
        self.index = index
        self.count = 0  # tokens that the model has written, up to the end of the text
        self.finish_reason: str | None = None
        self._echo = tokenizer.decode(prompt.ids[prompt.begin :]) if parameters.echo else None
        is_begun = len(prompt.ids) > prompt.begin
        self._stream = TextStream(tokenizer, parameters.stop, mid_text=is_begun)

    def feed(self, update: Update) -> Shown:
        """What can be shown now."""
        text, tokens = self._begin(update)
        for token in update.tokens:
            if self.finish_reason is not None:
                break
            self.count += 1
            piece = self._stream.feed([token])
            text, tokens = text + piece.text, tokens + piece.tokens
            if self._stream.found_stop:
                self.finish_reason = "stop"
        if update.finish_reason is None or self.finish_reason is not None:
            return Shown(self.index, text, tokens, self.finish_reason)
        piece = self._stream.finish()
        self.finish_reason = "stop" if self._stream.found_stop else update.finish_reason
        end = None if self._stream.found_stop else update.end
        return Shown(self.index, text + piece.text, tokens + piece.tokens, self.finish_reason, end)

    def _begin(self, update: Update) -> tuple[str, list[Token]]:
        """The prompt, once, if it is a part of the text."""
        text, self._echo = self._echo, None
        return ("", []) if text is None else (text, list(update.prompt_tokens))


async def show(service: Service, job: Job, choices: Sequence[Choice]) -> AsyncGenerator[Shown]:
    """What can be shown of all choices, as it comes, until all are finished. Raises Refusal if one cannot go on."""
    began, unfinished = time.perf_counter(), len(choices)
    async with aclosing(job.follow()) as updates:
        async for update in updates:
            choice = choices[update.request_index]
            if choice.finish_reason is not None:  # tokens that came after a stop string
                continue
            service.metrics.count_tokens(len(update.tokens), time.perf_counter() - began, is_first=choice.count == 0)
            shown = feed(choice, update)
            if shown.finish_reason is not None:
                unfinished -= 1
                job.cancel(shown.choice)
            if shown.text or shown.tokens or shown.finish_reason is not None:
                yield shown
            if unfinished == 0:
                return


def feed(choice: Choice, update: Update) -> Shown:
    """What can be shown of a choice. Raises Refusal if it cannot go on."""
    if update.error is not None:
        raise update.error
    try:
        return choice.feed(update)
    except UnknownToken as error:
        raise Refusal(f"the model has written an id that has no text: {error}", status=500) from None


def make_choices(service: Service, prompts: Sequence[Prompt], parameters: RequestParameters) -> list[Choice]:
    """In the order of OpenAI: all texts of the first prompt, then those of the second."""
    every = [prompt for prompt in prompts for _ in range(parameters.n)]
    try:
        return [Choice(index, prompt, service.tokenizer, parameters) for index, prompt in enumerate(every)]
    except UnknownToken as error:  # an id that the model has, and the tokenizer has not
        raise Refusal(str(error), param="prompt") from None


def usage(prompts: Sequence[Prompt], choices: Sequence[Choice]) -> dict[str, int]:
    read, written = sum(len(prompt.ids) for prompt in prompts), sum(choice.count for choice in choices)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
