"""How likely a model finds one text after another: what questions with given answers are scored by.

A text after a context is encoded together with it, as in EleutherAI's lm-evaluation-harness: tokens may differ from
those of the text alone, and a space between the two belongs to the second.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from llm.parallel.blas import fitting_blas_threads
from minigrad import no_grad
from minigrad.backend import to_device
from tokenizer import BaseTokenizer


class LogLikelihood(NamedTuple):
    """How likely a continuation is."""

    total: float  # the logarithms of the probabilities of its tokens, added up, in nats
    is_greedy: bool  # whether each of its tokens is the most likely one
    tokens: int


def log_likelihood(model: GPT, tokenizer: BaseTokenizer, context: str, continuation: str) -> LogLikelihood:
    """How likely the model finds `continuation` after `context`.

    An empty context stands for the beginning of a text. Of a long context, the model reads the end. Raises ValueError
    for a continuation without tokens, or one that is longer than the context of the model.
    """
    before, after = encode_parts(tokenizer, context, continuation)
    if not after:
        raise ValueError(f"the continuation {continuation!r} has no tokens; give one that has")
    if len(after) > model.context:
        raise ValueError(f"the continuation has {len(after):,} tokens and the model reads {model.context:,}")
    ids = np.array(before + after)[-(model.context + 1) :]
    with no_grad(), no_dropout(model), fitting_blas_threads(model.num_parameters()):
        x = model.hidden(ids[None, :-1])[:, -len(after) :]  # (1, T, C): each row predicts a token of the continuation
        logits = to_device(model.logits(x).data[0], "cpu").astype(np.float64)  # (T, V)
    largest = logits.max(axis=-1)
    chosen = logits[np.arange(len(after)), after]
    normalizers = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=-1))
    return LogLikelihood(float((chosen - normalizers).sum()), bool((logits.argmax(axis=-1) == after).all()), len(after))


def encode_parts(tokenizer: BaseTokenizer, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """The ids of the context, of at least one token, and those that the continuation adds to them."""
    text = context.rstrip()
    continuation = context[len(text) :] + continuation  # most tokens of words begin with the space before the word
    begin = tokenizer.template.begin_ids()
    if not text and not begin:
        if tokenizer.end_of_text is None:
            raise ValueError("the context is empty and this tokenizer has no token that begins a text; give a context")
        begin = [tokenizer.end_of_text]
    before = tokenizer.encode_ordinary(text)
    return begin + before, tokenizer.encode_ordinary(text + continuation)[len(before) :]
