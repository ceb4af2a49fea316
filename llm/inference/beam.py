"""Beam search: a search for the continuation that is most likely as a whole, instead of a draw token by token.

Greedy writing takes the most likely token at each place. But the most likely text may begin with another token. Beam
search goes on with the `num_beams` best beginnings ("beams") at once: all are continued by all tokens, and the best of
these are kept. It is as old as speech recognition (Lowerre 1976, the HARPY system); Sutskever et al. 2014 (arXiv
1409.3215) used it with neural networks.

`exhaustive_search` looks at all texts, of which there are V^max_tokens. It is the definition; `beam_search` finds the
same with enough beams. The rules of when a search ends are those of transformers' `generate(num_beams=...)`, so the
same options find the same texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from llm.inference.generate import Placement, check_arguments, next_logits_of_rows, place, read_all, tokens_in
from llm.inference.logprobs import log_probabilities, most_likely
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache

EarlyStopping = bool | Literal["never"]


@dataclass(frozen=True)
class Beam:
    """A text that a search has found."""

    ids: tuple[int, ...]
    """What comes after the prompt. If a stop id ended the text, that is the last one."""
    score: float
    """The sum of the log-probabilities of the ids, divided by a length penalty: length ** length_penalty."""


class Beginning(NamedTuple):
    """A text that is not complete yet: a beam that the search goes on with."""

    ids: tuple[int, ...] = ()
    total: float = 0.0  # the sum of the log-probabilities
    parent: int = 0  # which one of the beginnings of the step before it continues


# Takes beginnings of one length, each one token longer than those of the call before, which they continue; returns the
# log-probabilities (B, V) of the next token.
Reader = Callable[[Sequence[Beginning]], np.ndarray]
Score = Callable[[float, int], float]  # takes the sum of the log-probabilities, and the length


def exhaustive_search(
    model: GPT,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    length_penalty: float = 1.0,
    stop_ids: Collection[int] = (),
) -> list[Beam]:
    """All texts after the prompt, the best first. Only for a tiny vocabulary."""
    check_arguments(model, prompt_ids, max_tokens, seed=0)

    def continuations(ids: tuple[int, ...], total: float) -> Iterator[Beam]:
        if len(ids) == max_tokens or ids and ids[-1] in stop_ids:
            yield Beam(ids, score(total, len(ids), length_penalty))
            return
        for id, logprob in enumerate(log_probabilities(read_all(model, [*prompt_ids, *ids]))):
            yield from continuations((*ids, id), total + float(logprob))

    return sorted(continuations((), 0.0), key=lambda beam: -beam.score)


def beam_search(
    model: GPT,
    prompt_ids: Sequence[int],
    *,
    num_beams: int,
    max_tokens: int,
    length_penalty: float = 1.0,
    early_stopping: EarlyStopping = False,
    stop_ids: Collection[int] = (),
) -> list[Beam]:
    """The best texts after the prompt that `num_beams` beams find, at most so many, the best first.

    A text is complete with a stop id, or with `max_tokens`. `length_penalty`: above 0, longer texts have better scores;
    0 compares sums of log-probabilities. `early_stopping`: the search ends when `num_beams` texts are complete, and

        True       at once
        False      the best beginning has no better score now than the worst of these texts
        "never"    it could have no better score even if its total stayed the same up to the greatest length
    """
    check_arguments(model, prompt_ids, max_tokens, seed=0)
    check_search(num_beams, length_penalty, early_stopping)
    reader, by_score = BeamReader(model, prompt_ids), partial(score, length_penalty=length_penalty)
    return search(reader, by_score, num_beams, max_tokens, early_stopping, stop_ids)


def search(
    reader: Reader,
    score: Score,
    num_beams: int,
    max_tokens: int,
    early_stopping: EarlyStopping,
    stop_ids: Collection[int],
) -> list[Beam]:
    """`beam_search` with any model that `reader` reads with, and any `score`."""
    stop = set(stop_ids)
    # Each beginning has one continuation for each stop id that ends. Among this many there are enough that do not.
    count = num_beams * (1 + len(stop))
    beginnings, complete = [Beginning()], [Beam((), 0.0)] if max_tokens == 0 else []
    for length in range(1, max_tokens + 1):
        found = best_continuations(beginnings, reader(beginnings), count)
        ended, beginnings = separate(found, stop if length < max_tokens else None, num_beams)
        complete += [Beam(each.ids, score(each.total, length)) for each in ended]
        complete = sorted(complete, key=lambda beam: -beam.score)[:num_beams]
        if not beginnings or len(complete) == num_beams and early_stopping is True:
            break
        # What the best beginning may still reach. With each token its total becomes lower.
        lengths = (length, max_tokens) if early_stopping == "never" else (length,)
        possible = max(score(beginnings[0].total, each) for each in lengths)
        if len(complete) == num_beams and possible <= complete[-1].score:
            break
    return complete


def best_continuations(beginnings: Sequence[Beginning], logprobs: np.ndarray, count: int) -> list[Beginning]:
    """The best `count` of all continuations by one token, the best first. `logprobs` (B, V) are those of this token."""
    totals = logprobs + np.array([each.total for each in beginnings])[:, None]
    places = [(*divmod(index, totals.shape[1]), total) for index, total in most_likely(totals.ravel(), count)]
    return [Beginning((*beginnings[row].ids, id), total, row) for row, id, total in places if total > -math.inf]


def separate(
    found: Sequence[Beginning], stop: Collection[int] | None, num_beams: int
) -> tuple[list[Beginning], list[Beginning]]:
    """The texts that have ended, and the best `num_beams` of the others. `stop` None: all of them have ended."""
    ends = [stop is None or each.ids[-1] in stop for each in found]
    # A text that ends counts only if it is among the best `num_beams`. The others of `found` are a reserve.
    ended = [each for each, end in zip(found[:num_beams], ends) if end]
    return ended, [each for each, end in zip(found, ends) if not end][:num_beams]


def score(total: float, length: int, length_penalty: float) -> float:
    """What texts of different lengths are compared by."""
    return total / length**length_penalty if length else total


def check_search(num_beams: int, length_penalty: float, early_stopping: EarlyStopping) -> None:
    """Raises ValueError for options that are not possible."""
    if num_beams < 1:
        raise ValueError(f"num_beams must be at least 1, got {num_beams}")
    if not -10 <= length_penalty <= 10:  # so that length ** length_penalty is no larger than a float can be
        raise ValueError(f"length_penalty must be a number from -10 to 10, got {length_penalty}")
    if early_stopping not in (True, False, "never"):
        raise ValueError(f'early_stopping must be True, False or "never", got {early_stopping!r}')


class BeamReader:
    """A `Reader` of what follows a prompt."""

    def __init__(self, model: GPT, prompt_ids: Sequence[int]):
        self.model, self.prompt_ids, self.cache = model, list(prompt_ids), KVCache(model.config)
        self.placement = Placement()  # of the texts in the cache

    def __call__(self, beginnings: Sequence[Beginning]) -> np.ndarray:
        texts = np.array([[*self.prompt_ids, *each.ids] for each in beginnings])  # (B, T)
        placement = place(self.model, texts.shape[1], self.model.context)
        if placement != self.placement:  # as in CachedReader of generate.py
            self.placement = placement
            self.cache.reset()
        elif self.cache.length:
            # Row b of the cache shall hold the text that beginning b continues.
            self.cache.select([each.parent for each in beginnings])
        unread = texts[:, placement.first + tokens_in(self.cache, self.model) :]
        logits = next_logits_of_rows(self.model, unread, self.cache)
        return np.stack([log_probabilities(row) for row in logits])
