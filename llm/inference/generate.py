"""Generation: the model predicts the next token, one is drawn and appended to the text, and so on.

`generate_reference` does just that, and reads the whole text again for every token. `generate` keeps the keys and
values of what it has read (llm/model/kv_cache.py) and reads only the newest token. Both draw the same tokens.

A model reads at most `context` tokens: learned positions end there, and no model has seen a longer text in training.
When a text becomes longer, its oldest tokens are left out. The remaining ones then have new positions and must be read
again. So tokens are not left out one by one, but half a context at a time. Half a context is read again for every half
context that is written: two tokens are read for each one written.
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

Reader = Callable[[Sequence[int]], np.ndarray]  # the ids of a text -> logits (V,) of the token after it


def generate(
    model: GPT,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """Ids that continue `prompt_ids`: `max_tokens` of them, or up to one of `stop_ids`, which is not returned.

    The same `seed` gives the same tokens. Raises ValueError for an empty prompt, or ids that the model does not know.
    """
    check_arguments(model, prompt_ids, max_tokens, seed)  # now, not when the first token is asked for
    rng = np.random.default_rng(seed)
    return draw_tokens(CachedReader(model), prompt_ids, max_tokens, sampling or Sampling(), rng, stop_ids)


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
    check_arguments(model, prompt_ids, max_tokens, seed)
    rng = np.random.default_rng(seed)
    return draw_tokens(partial(read_all, model), prompt_ids, max_tokens, sampling or Sampling(), rng, stop_ids)


def draw_tokens(
    read: Reader,
    prompt_ids: Sequence[int],
    max_tokens: int,
    sampling: Sampling,
    rng: np.random.Generator,
    stop_ids: Collection[int],
) -> Iterator[int]:
    """The loop: predict, draw, append."""
    ids = list(prompt_ids)  # a copy: the list of the caller stays as it is
    for _ in range(max_tokens):
        ids.append(sample(read(ids), ids, sampling, rng))
        if ids[-1] in stop_ids:
            return
        yield ids[-1]


def check_arguments(model: GPT, prompt_ids: Sequence[int], max_tokens: int, seed: int) -> None:
    """Raises ValueError for arguments that make no sense."""
    if not len(prompt_ids):
        raise ValueError(
            "a model needs at least one token to continue; begin with the end-of-text token, or with a newline"
        )
    smallest, largest, size = min(prompt_ids), max(prompt_ids), model.config.vocab_size
    if smallest < 0 or largest >= size:
        raise ValueError(
            f"the prompt has ids from {smallest} to {largest} and the model knows 0 to {size - 1}; use the tokenizer "
            "the model was trained with"
        )
    if max_tokens < 0 or seed < 0:
        raise ValueError(f"max_tokens and seed must not be negative, got {max_tokens} and {seed}")


# --- readers: the ids of a text -> logits (V,) of the token after it --------------------------------------------------


def read_all(model: GPT, ids: Sequence[int]) -> np.ndarray:
    """Reads the whole text, as far as the context reaches."""
    return next_logits(model, ids[first_in_context(len(ids), model.config.context) :])


class CachedReader:
    """Reads only what is new. Each call must bring the text of the call before, with more tokens at its end."""

    def __init__(self, model: GPT):
        self.model, self.cache = model, KVCache(model.config)
        self.first = 0  # the index of the oldest token in the cache

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        first = first_in_context(len(ids), self.model.config.context)
        if first != self.first:
            # The tokens that remain have other positions now, so their keys and values are other ones too.
            self.first = first
            self.cache.truncate(0)
        return next_logits(self.model, ids[first + self.cache.length :], self.cache)


def first_in_context(length: int, context: int) -> int:
    """The index of the first token that is read, in a text of `length` tokens: the smallest multiple of half a context
    after which at most `context` tokens follow.
    """
    half = (context + 1) // 2
    # The tokens that are too many, rounded up to a multiple of half a context.
    return -(-max(length - context, 0) // half) * half


def next_logits(model: GPT, ids: Sequence[int], cache: KVCache | None = None) -> np.ndarray:
    """Logits (V,), on the CPU, of the token after `ids`, which continue the text in the cache and are added to it."""
    with no_grad(), no_dropout(model):
        x = model.hidden(np.array([ids]), cache=cache)  # (1, T, C)
        # Only the last token predicts something new, so only for it the head is computed: (1, C) -> (1, V) -> (V,)
        return to_device(model.logits(x[:, -1]).data[0], "cpu")


@contextmanager
def no_dropout(model: GPT) -> Iterator[None]:
    """Evaluation mode; afterwards the model is in training mode again if it was before."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()
