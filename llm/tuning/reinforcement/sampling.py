"""The model writes completions, through the engine that generate.py and the server use (llm/inference/engine).

Each completion has a random seed of its own, made from the seed of the run, the step and its number. So what is sampled
is a function of these and of the weights, and a run that was killed and resumed samples the same texts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from llm.inference.engine.engine import Engine
from llm.inference.engine.requests import Generation, Request
from llm.inference.engine.text_stream import TextStream
from llm.inference.sampling import Sampling
from llm.model.gpt import GPT
from tokenizer import BaseTokenizer

SLOTS = 64  # texts that are written at the same time


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


def complete(
    model: GPT,
    tokenizer: BaseTokenizer,
    prompts: Sequence[Sequence[int]],
    settings: CompletionSettings,
    seeds: Sequence[int],
) -> list[Completion]:
    """One completion of each prompt (ids), with the seed at the same index."""
    engine = Engine(model, slots=min(SLOTS, len(prompts)))
    generations = [
        engine.submit(
            Request(ids, settings.max_tokens, settings.sampling, seed, stop_ids=settings.stop_ids, slide=False)
        )
        for ids, seed in zip(prompts, seeds, strict=True)
    ]
    while not all(generation.finished for generation in generations):
        engine.step()
    return [_completion(generation, tokenizer) for generation in generations]


def _completion(generation: Generation, tokenizer: BaseTokenizer) -> Completion:
    if generation.finish_reason == "error":
        raise ValueError(f"a completion could not be sampled: {generation.error}")
    end = [generation.end] if generation.end is not None else []
    stream = TextStream(tokenizer, (), mid_text=True)
    text = stream.feed(generation.tokens).text + stream.finish().text
    ids = [token.id for token in [*generation.tokens, *end]]
    return Completion(list(generation.request.ids), ids, text, cut_off=generation.finish_reason == "length")


def seeds_of(seed: int, step: int, count: int) -> list[int]:
    """A seed for each of the `count` completions of a step."""
    # A SeedSequence promises the same numbers in every version of NumPy.
    return [int(word) for word in np.random.SeedSequence((seed, step)).generate_state(count, np.uint64)]
