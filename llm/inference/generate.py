"""Generation: the model predicts the next token, one is drawn and appended to the text, and so on.

`generate_reference` is that sentence as code: it reads the whole text again for every token. `generate` keeps the keys
and values of what it has read (llm/model/kv_cache.py) and reads only the newest token; it draws the same tokens.

A model reads at most `context` tokens: learned positions end there, and with the others it saw no longer text in
training. When the text outgrows that, its oldest tokens leave the view: half a context at a time, not one by one,
because what remains has to be read anew, at new positions. Half a context of reading for half a context of writing
comes to two tokens read for each one written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from llm.inference.sampling import Sampling, sample
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from minigrad import no_grad
from minigrad.backend import to_device

Predict = Callable[[Sequence[int]], np.ndarray]  # the ids of a text -> logits (V,) of what comes next


def generate(
    model: GPT,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """Ids that continue `prompt_ids`: `max_tokens` of them, or up to one of `stop_ids`, which is not among them.

    The same `seed` gives the same tokens. Raises ValueError for an empty prompt or ids that the model does not know.
    """
    return _generate(CachedReader(model), model, prompt_ids, max_tokens, sampling, seed, stop_ids)


def generate_reference(
    model: GPT,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """`generate`, without a cache."""
    return _generate(partial(read_all, model), model, prompt_ids, max_tokens, sampling, seed, stop_ids)


def _generate(
    predict: Predict,
    model: GPT,
    prompt_ids: Sequence[int],
    max_tokens: int,
    sampling: Sampling | None,
    seed: int,
    stop_ids: Collection[int],
) -> Iterator[int]:
    """Complains now, and returns the iterator that does the work."""
    prompt_ids, size = list(prompt_ids), model.config.vocab_size
    if not prompt_ids:
        raise ValueError(
            "a model needs at least one token to continue; begin with the end-of-text token, or with a newline"
        )
    if not 0 <= min(prompt_ids) <= max(prompt_ids) < size:
        raise ValueError(
            f"the prompt has ids from {min(prompt_ids)} to {max(prompt_ids)} and the model knows 0 to "
            f"{size - 1}; use the tokenizer the model was trained with"
        )
    if max_tokens < 0 or seed < 0:
        raise ValueError(f"max_tokens and seed must not be negative, got {max_tokens} and {seed}")
    return draw_tokens(predict, prompt_ids, max_tokens, sampling or Sampling(), np.random.default_rng(seed), stop_ids)


def draw_tokens(
    predict: Predict,
    prompt_ids: Sequence[int],
    max_tokens: int,
    sampling: Sampling,
    rng: np.random.Generator,
    stop_ids: Collection[int],
) -> Iterator[int]:
    """The loop: predict, draw, append."""
    ids = list(prompt_ids)
    for _ in range(max_tokens):
        ids.append(sample(predict(ids), ids, sampling, rng))
        if ids[-1] in stop_ids:
            return
        yield ids[-1]


# --- reading: the ids of a text -> logits (V,) of what comes next -----------------------------------------------------


def read_all(model: GPT, ids: Sequence[int]) -> np.ndarray:
    """Reads all that is in view, every time."""
    return next_logits(model, ids[view_start(len(ids), model.config.context) :])


class CachedReader:
    """Remembers what it has read. Each call must bring the text of the last one, with more at the end."""

    def __init__(self, model: GPT):
        self.model, self.cache, self.start = model, KVCache(model.config), 0

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        start = view_start(len(ids), self.model.config.context)
        if start != self.start:
            self.start = start
            self.cache.truncate(0)
        return next_logits(self.model, ids[start + self.cache.length :], self.cache)


def view_start(length: int, context: int) -> int:
    """How many of the oldest of `length` tokens are out of view: none, or the fewest half contexts that leave at most
    `context`.
    """
    half = (context + 1) // 2
    return -(-max(length - context, 0) // half) * half


def next_logits(model: GPT, ids: Sequence[int], cache: KVCache | None = None) -> np.ndarray:
    """Logits (V,), on the CPU, of the token that follows `ids` (and what is in the cache, to which they are added)."""
    with no_grad(), no_dropout(model):
        x = model.hidden(np.array([ids]), cache=cache)  # (1, T, C)
        return to_device(model.logits(x[:, -1]).data[0], "cpu")  # only the last token's: (1, C) -> (1, V) -> (V,)


@contextmanager
def no_dropout(model: GPT) -> Iterator[None]:
    """Evaluation mode; afterwards training goes on if it was on."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()
