"""Completions of many prompts at once, through the engine that generate.py and the server use (engine/).

Each completion has a random seed of its own. So what is sampled is a function of its prompt, its seed and the weights,
and work that was killed and resumed samples the same texts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from llm.hub.generation_defaults import END_NAMES
from llm.inference.engine.engine import Engine
from llm.inference.engine.requests import Generation, Request
from llm.inference.engine.text_stream import TextStream
from llm.inference.sampling import Sampling
from llm.inference.text import end_ids_of
from llm.model.gpt import GPT
from tokenizer import BaseTokenizer

SLOTS = 64  # texts that are written at the same time
CACHE_TOKENS = 1 << 15  # and tokens that keys and values are kept of: 1.5 GB in a model such as SmolLM2-135M


@dataclass(frozen=True)
class Completion:
    """What the model has written after a prompt."""

    prompt_ids: list[int]
    ids: list[int]  # all tokens that were drawn; the last one is that which ends the text, unless the text is cut off
    text: str  # without the token that ends it
    cut_off: bool  # it reached the largest length, and was not ended by the model


@dataclass(frozen=True)
class CompletionSettings:
    """How completions are written."""

    max_tokens: int
    # No filters: a token that they forbid would have had a probability under the policy that is trained.
    sampling: Sampling = Sampling(temperature=1.0, top_p=1.0)
    stop_ids: Collection[int] = ()
    stop: Sequence[str] = ()  # the text ends before one of these strings


def complete(
    model: GPT,
    tokenizer: BaseTokenizer,
    prompts: Sequence[Sequence[int]],
    settings: CompletionSettings,
    seeds: Sequence[int],
    progress: Callable[[int], object] = lambda finished: None,
) -> list[Completion]:
    """One completion of each prompt (ids), with the seed at the same index.

    `progress` is called with how many more are finished.
    """
    longest = max(len(ids) for ids in prompts) + settings.max_tokens
    context = min(model.context, longest)
    engine = Engine(model, slots=max(1, min(SLOTS, len(prompts), CACHE_TOKENS // context)), context=context)
    requests = [
        Request(ids, settings.max_tokens, settings.sampling, seed, stop_ids=settings.stop_ids, slide=False)
        for ids, seed in zip(prompts, seeds, strict=True)
    ]
    writings = [Writing(engine.submit(each), TextStream(tokenizer, settings.stop, mid_text=True)) for each in requests]
    unfinished = writings
    while unfinished:
        engine.step()
        for writing in unfinished:
            writing.follow(engine)
        finished = len(unfinished)
        unfinished = [writing for writing in unfinished if not writing.generation.finished]
        progress(finished - len(unfinished))
    return [writing.completion() for writing in writings]


@dataclass
class Writing:
    """A completion that is being written."""

    generation: Generation
    stream: TextStream
    text: str = ""
    decoded: int = 0  # tokens

    def follow(self, engine: Engine) -> None:
        """Decode the new tokens, and end the text before a stop string."""
        new = self.generation.tokens[self.decoded :]
        self.decoded += len(new)
        self.text += self.stream.feed(new).text
        if self.stream.found_stop:
            engine.cancel(self.generation)

    def completion(self) -> Completion:
        generation = self.generation
        if generation.finish_reason == "error":
            raise ValueError(f"a completion could not be sampled: {generation.error}")
        end = [generation.end] if generation.end is not None else []
        ids = [token.id for token in [*generation.tokens, *end]]
        text = self.text + self.stream.finish().text
        return Completion(list(generation.request.ids), ids, text, cut_off=generation.finish_reason == "length")


def stop_ids_of(tokenizer: BaseTokenizer) -> set[int]:
    """The tokens that end an answer."""
    named = {id for name, id in tokenizer.special_tokens.items() if name in END_NAMES}
    return end_ids_of(tokenizer) | named


def seeds_of(seed: int, step: int, count: int) -> list[int]:
    """A seed for each of the `count` completions of a step."""
    # A SeedSequence promises the same numbers in every version of NumPy.
    return [int(word) for word in np.random.SeedSequence((seed, step)).generate_state(count, np.uint64)]
