"""How likely a model finds one text after another: what questions with given answers are scored by.

A text after a context is encoded together with it, as in EleutherAI's lm-evaluation-harness: tokens may differ from
those of the text alone, and a space between the two belongs to the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from llm.parallel.blas import fitting_blas_threads
from minigrad import no_grad
from minigrad.backend import to_device
from tokenizer import BaseTokenizer
from tokenizer.text.chat_template import named_tokens


class LogLikelihood(NamedTuple):
    """How likely a continuation is."""

    total: float  # the logarithms of the probabilities of its tokens, added up, in nats
    is_greedy: bool  # whether each of its tokens is the most likely one
    tokens: int


class CannotScore(ValueError):
    """One of several texts cannot be scored: `number` says which, `reason` why."""

    def __init__(self, kind: str, number: int, reason: str):
        super().__init__(f"{kind} {number}: {reason}")
        self.number, self.reason = number, reason


def log_likelihood(model: GPT, tokenizer: BaseTokenizer, context: str, continuation: str) -> LogLikelihood:
    """How likely the model finds `continuation` after `context`.

    An empty context stands for the beginning of a text. Of a long context, the model reads the end. Raises ValueError
    for a continuation without tokens, or one that is longer than the context of the model.
    """
    return score(model, *tokens_to_score(tokenizer, model.context, context, continuation))


def score(model: GPT, ids: Sequence[int], targets: Sequence[int]) -> LogLikelihood:
    """How likely the model finds `targets`, the last of which follows `ids`, and each other one is in `ids`."""
    # A model that has diverged overflows: that is seen in its scores, and needs no warnings of NumPy.
    with no_grad(), no_dropout(model), fitting_blas_threads(model.num_parameters()), np.errstate(all="ignore"):
        x = model.hidden(np.array([ids]))[:, -len(targets) :]  # (1, T, C): each row predicts a target
        logits = to_device(model.logits(x).data[0], "cpu").astype(np.float64)  # (T, V)
        largest = logits.max(axis=-1)
        chosen = logits[np.arange(len(targets)), targets]
        normalizers = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=-1))
    is_greedy = bool((logits.argmax(axis=-1) == targets).all())
    return LogLikelihood(float((chosen - normalizers).sum()), is_greedy, len(targets))


def tokens_to_score(
    tokenizer: BaseTokenizer, most: int, context: str, continuation: str
) -> tuple[list[int], list[int]]:
    """The ids that the model reads, at most `most`, and those of the continuation: the last ones read predict them."""
    before, after = encode_parts(tokenizer, context, continuation)
    if not after:
        raise ValueError(f"the continuation {continuation!r} has no tokens; give one that has")
    if len(after) > most:
        raise ValueError(f"the continuation has {len(after):,} tokens and the model reads {most:,}")
    return (before + after[:-1])[-most:], after


def encode_parts(tokenizer: BaseTokenizer, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """The ids of the context, of at least one token, and those that the continuation adds to them."""
    text = context.rstrip()
    continuation = context[len(text) :] + continuation  # most tokens of words begin with the space before the word
    before = tokenizer.encode_ordinary(text)
    begin = tokenizer.template.begin_ids() if before else beginning(tokenizer)
    if not begin and not before:
        raise ValueError("the context is empty and this tokenizer has no token that begins a text; give a context")
    return begin + before, tokenizer.encode_ordinary(text + continuation)[len(before) :]


def beginning(tokenizer: BaseTokenizer) -> list[int]:
    """What predicts the first token of a text: a token that begins texts, or else one that ends them; or nothing."""
    if begin := tokenizer.template.begin_ids():
        return begin
    # Some tokenizers name a token that begins texts, but put none before them.
    named = tokenizer.token_to_id(named_tokens(tokenizer.settings).get("bos_token", ""))
    first = tokenizer.end_of_text if named is None else named
    return [] if first is None else [first]
