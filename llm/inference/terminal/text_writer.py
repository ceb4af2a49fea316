"""Writes texts with the engine, one after another, as the options of generate.py ask for."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from llm.console import say
from llm.inference.constrain import Constraint
from llm.inference.engine.one_text import one_text_engine
from llm.inference.engine.requests import Generation, Request, Token
from llm.inference.engine.slots import common_length
from llm.inference.engine.speculation import Draft, DraftModel, PromptLookup
from llm.inference.engine.text_stream import Piece, TextStream
from llm.inference.generate import first_in_context
from llm.inference.model_choice import LoadedModel, load_other
from llm.inference.nesting import nesting_checked
from llm.inference.options import PROMPT_LOOKUP, GenerateOptions
from llm.inference.terminal.streams import TokenCounter
from llm.inference.terminal.token_output import ALTERNATIVES, PlainOutput

LONG_PROMPT = 1000  # tokens, for which a large model needs several seconds


class Text(NamedTuple):
    """What was written, and why it ended. "length": after the largest number of tokens, or at the context's end."""

    text: str
    ids: list[int]  # of the prompt and the text, as far as the model still sees them
    end: Literal["stop", "length", "interrupted"]


class TextWriter:
    """One text at a time. What two texts have in common at their beginning is read once."""

    def __init__(self, loaded: LoadedModel, options: GenerateOptions):
        self.tokenizer, self.options = loaded.tokenizer, options
        self.engine = one_text_engine(loaded.model)
        self.end_ids = loaded.all_end_ids
        self.draft = load_draft(options, loaded)
        self.counter = TokenCounter(with_draft=self.draft is not None)

    def constraint(self, *, mid_text: bool) -> Constraint | None:
        """What may be written. `mid_text`: the text continues another one."""
        options, model = self.options, self.engine.model
        more = {"end_ids": self.end_ids, "vocab_size": model.config.vocab_size, "mid_text": mid_text}
        if options.regex is not None:
            return Constraint.from_regex(options.regex, self.tokenizer, **more)
        if options.schema is not None:
            return Constraint.from_schema(read_schema(options.schema), self.tokenizer, **more)
        return None

    def write(
        self,
        ids: Sequence[int],
        output: PlainOutput,
        *,
        seed: int,
        constraint: Constraint | None = None,
        mid_text: bool = True,
        skip_special_tokens: bool = False,
        slide: bool = True,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Text:
        """Write what follows `ids`, and show it. Raises ValueError if no token can be drawn.

        `slide`: at the context's end, go on without the oldest tokens. `interrupted` says whether to end the text now.
        """
        options = self.options
        alternatives = ALTERNATIVES + 1 if options.show.show_probs else None  # one more: the token may be among them
        request = Request(
            ids, options.max_tokens, options.sampling, seed, self.end_ids, top_logprobs=alternatives,
            constraint=constraint, draft=self.draft, slide=slide,
        )  # fmt: skip
        stream = TextStream(self.tokenizer, options.stop, mid_text=mid_text, skip_special_tokens=skip_special_tokens)
        shown: list[str] = []

        def show(piece: Piece) -> None:
            shown.append(piece.text)
            output.show(piece)

        generation = self.engine.submit(request)
        try:
            while not (generation.finished or stream.found_stop or interrupted()):
                show(stream.feed(self._step(generation)))
            show(stream.finish())
        finally:
            self.engine.cancel(generation)  # if it has not ended
        if generation.error is not None:
            raise generation.error
        end = "stop" if stream.found_stop else generation.finish_reason
        return Text("".join(shown), generation.visible_ids, "interrupted" if end == "cancelled" else end)  # type: ignore[arg-type]

    def _step(self, generation: Generation) -> list[Token]:
        """The tokens that one step of the engine adds to the text."""
        before, began = len(generation.tokens), time.perf_counter()
        self.engine.step()
        new = generation.tokens[before:]
        self.counter.count(len(new), time.perf_counter() - began, is_reading=before == 0)
        return new

    def say_if_long(self, ids: Sequence[int]) -> None:
        """Say it if much of a prompt has to be read: nothing is written meanwhile."""
        seen = ids[first_in_context(len(ids), self.engine.context) :]
        unread = len(seen) - max(common_length(text, seen) for text in self.engine.slots.texts)
        if unread >= LONG_PROMPT:
            say(f"reading {unread:,} tokens")


def read_schema(path: str) -> object:
    """The JSON in a file. Raises ValueError if it is none, OSError if the file cannot be read."""
    if not os.path.exists(path):  # a pipe may be given too
        raise FileNotFoundError(f"--schema needs a file with a JSON schema, and there is no file {path:.80}")
    try:
        with nesting_checked():
            return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def load_draft(options: GenerateOptions, loaded: LoadedModel) -> Draft | None:
    """What guesses the next tokens. Raises ValueError for a model whose tokens are others."""
    if options.draft is None:
        return None
    if options.draft == PROMPT_LOOKUP:
        return PromptLookup()
    draft = load_other(options.draft, None, options.weights, options.device)
    if draft.tokenizer.tokens != loaded.tokenizer.tokens:
        raise ValueError(
            f"the draft model {draft.name} has another vocabulary than {loaded.name}, so it cannot guess its tokens; "
            f"give a smaller model of the same family, or --draft {PROMPT_LOOKUP}"
        )
    if draft.model.num_parameters() >= loaded.model.num_parameters():
        say("the draft model is not smaller than the model, so the text will not come faster")
    return DraftModel(draft.model)
