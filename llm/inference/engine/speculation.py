"""Speculative decoding: guess the next tokens cheaply, and let the model check all of them in one call.

Leviathan et al. 2023 (arXiv 2211.17192), Chen et al. 2023 (arXiv 2302.01318). To read five tokens takes hardly longer
than to read one, because most of the time goes into reading the weights from memory. So if most guesses are right, the
text comes faster.

In these papers a guess is accepted or rejected at random. So the tokens have the distribution of the model, but are not
those that the same seed gives without guesses. Here each token is drawn as always, from the model's logits and with the
text's own random numbers, and a guess is right if it is the token that was drawn. So a draft changes the speed and
nothing else: the text is the same, greedy or not. Of guesses without probabilities, such as those of PromptLookup, this
accepts as many as the papers do. A draft model draws with the same random numbers as the model will, so the two mostly
draw the same token where their probabilities are similar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from llm.inference.engine.slots import common_length
from llm.inference.generate import Sampler, next_logits
from llm.model.cache_pool import CachePool
from llm.model.gpt import GPT


class Draft(Protocol):
    """Guesses how a text goes on."""

    def propose(self, ids: Sequence[int], sampler: Sampler) -> list[int]:
        """Some ids that may follow `ids`. `sampler`: a copy of the one that will draw these tokens from the model."""


class PromptLookup:
    """Guesses that what followed the last tokens when they occurred before follows again.

    For texts that repeat their prompt: summaries, corrections, code. Saxena 2023, "Prompt Lookup Decoding".
    """

    def __init__(self, count: int = 8, longest: int = 3):
        """`count`: how many tokens are guessed. `longest`: how many of the last tokens are looked for, at most."""
        self.count, self.longest = count, longest

    def propose(self, ids: Sequence[int], sampler: Sampler) -> list[int]:
        text = np.asarray(ids)
        for n in range(min(self.longest, len(text) - 1), 0, -1):
            windows = np.lib.stride_tricks.sliding_window_view(text[:-1], n)  # (places, n)
            places = np.flatnonzero((windows == text[-n:]).all(axis=1))
            if len(places):
                begin = int(places[-1]) + n  # the latest place: texts stay with their subject
                return text[begin : begin + self.count].tolist()
        return []


class DraftModel:
    """A smaller model with the same tokenizer guesses, token by token."""

    def __init__(self, model: GPT, count: int = 4):
        self.model, self.count = model, count
        # A layer with a window must take any prompt in one call.
        self.pool = CachePool(model.config, slots=1, chunk=model.config.context)
        self.text: list[int] = []  # the ids in its cache

    def propose(self, ids: Sequence[int], sampler: Sampler) -> list[int]:
        text = list(ids)
        for _ in range(min(self.count, self.model.config.context - len(ids) + 1)):
            text.append(sampler(self._read(text), text))
        return text[len(ids) :]

    def _read(self, ids: list[int]) -> np.ndarray:
        """Logits (V,) of the token after `ids`."""
        common = common_length(self.text, ids[:-1])  # the last id is read in any case, for its logits
        if not self.pool.can_truncate(0, common):
            common = 0
        self.pool.truncate(0, common)
        logits = next_logits(self.model, ids[common:], self.pool.rows([0]))
        self.text = ids.copy()
        return logits
