"""Generation: the model predicts the next token, a token is drawn and appended to the text, and so on.

To read a token means to send it through the model. `generate_reference` reads the whole text again for every new token.
`generate` stores the keys and values of the tokens read so far (llm/model/kv_cache.py), and reads only the newest
token. Both draw the same tokens. This file is for readers: programs write with the engine (engine/), which does the
same for many texts at once. The tests compare it with `generate`.

A model reads at most `context` tokens: learned positions end there, and no model has seen a longer text in training.
When a text becomes longer, its oldest tokens are left out. Then the remaining tokens have other positions, and must be
read again. That would be slow if it happened for each new token. So half a context is left out at a time: the
other half is read again, and then there is room for half a context of new tokens. So on average two tokens are read for
each token that is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from llm.inference.llama2c_sampling import Llama2cSampler
from llm.inference.sampling import Sampling, sample
from llm.model.cache_pool import Cache
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from llm.model.no_dropout import no_dropout
from minigrad import no_grad
from minigrad.backend import to_device

# Takes the ids of a text, returns the logits (V,) of the token after it.
Reader = Callable[[Sequence[int]], np.ndarray]
# Takes these logits and the ids of the text, returns the id of the next token.
Sampler = Callable[[np.ndarray, Sequence[int]], int]


def generate(
    model: GPT,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """The ids after `prompt_ids`, one by one: `max_tokens` of them, or fewer if one of `stop_ids` is drawn.

    The drawn stop id is not returned. The same `seed` gives the same tokens. Raises ValueError for an empty prompt, or
    ids that the model does not know.
    """
    # The check is here and not in `draw_tokens`: the code of a generator runs only when its first item is asked for.
    # This function has no `yield`, so it raises the error when it is called.
    check_arguments(model, prompt_ids, max_tokens, seed, sampling)
    sampler = make_sampler(sampling, seed, len(prompt_ids))
    return draw_tokens(CachedReader(model), prompt_ids, max_tokens, sampler, stop_ids)


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
    check_arguments(model, prompt_ids, max_tokens, seed, sampling)
    sampler = make_sampler(sampling, seed, len(prompt_ids))
    return draw_tokens(partial(read_all, model), prompt_ids, max_tokens, sampler, stop_ids)


def draw_tokens(
    read: Reader, prompt_ids: Sequence[int], max_tokens: int, sampler: Sampler, stop_ids: Collection[int]
) -> Iterator[int]:
    """The loop: predict, draw, append."""
    ids = list(prompt_ids)  # a copy, so that the list of the caller does not grow
    for _ in range(max_tokens):
        ids.append(sampler(read(ids), ids))
        if ids[-1] in stop_ids:
            return
        yield ids[-1]


def make_sampler(sampling: Sampling | None, seed: int, prompt_length: int) -> Sampler:
    """Chooses the tokens after a prompt of `prompt_length` tokens. The same seed gives the same ones."""
    sampling = sampling or Sampling()
    if sampling.sampler == "llama2c":
        return Llama2cSampler(sampling.temperature, sampling.top_p, seed)
    return SeededSampler(sampling, seed, prompt_length)


class SeededSampler:
    """Draws with random numbers of its own. A copy (copy.deepcopy) draws the same tokens from the same logits."""

    def __init__(self, sampling: Sampling, seed: int, prompt_length: int):
        self.sampling, self.prompt_length, self.rng = sampling, prompt_length, np.random.default_rng(seed)

    def __call__(self, logits: np.ndarray, ids: Sequence[int]) -> int:
        return sample(logits, ids, self.sampling, self.rng, self.prompt_length)


def check_arguments(
    model: GPT, prompt_ids: Sequence[int], max_tokens: int, seed: int, sampling: Sampling | None = None
) -> None:
    """Raises ValueError for arguments that are not possible."""
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
    if sampling is not None:
        sampling.check_vocabulary(size)


# --- readers: from the ids of a text to the logits (V,) of the token after it -----------------------------------------


def read_all(model: GPT, ids: Sequence[int]) -> np.ndarray:
    """Reads the whole text, or the end of it if it is longer than the context."""
    return next_logits(model, ids[first_in_context(len(ids), model.context) :])


class CachedReader:
    """Reads only what is new. Each call must give the text of the call before, with more tokens at its end."""

    def __init__(self, model: GPT):
        self.model, self.cache = model, KVCache(model.config)
        self.placement = Placement()  # of the text in the cache

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        placement = place(self.model, len(ids), self.model.context)
        if placement != self.placement:  # then all that is read must be read again
            self.placement = placement
            self.cache.truncate(0)
        # What is not in the cache: first the whole prompt, then one token in each call, or half a context after a cut.
        return next_logits(self.model, ids[placement.first + tokens_in(self.cache, self.model) :], self.cache)


def tokens_in(cache: KVCache, model: GPT) -> int:
    """How many tokens of a text are in the cache, without the virtual tokens that an adapter has put before them."""
    virtual = model.config.context - model.context  # prefixes and prompts that were learned (llm/model/adapters)
    return max(cache.length - virtual, 0)


class Placement(NamedTuple):
    """What the keys and values of a token depend on, besides the tokens. If it changes, a cache must be filled anew."""

    first: int = 0  # the index in the text of the oldest token that the model still sees; its position is 0
    effective_length: int = 0  # what the rotary angles of all positions depend on (rope_scaling.py)


def place(model: GPT, length: int, context: int) -> Placement:
    """The placement of a text of `length` tokens, of which the model sees at most `context`."""
    first = first_in_context(length, context)
    scaling = model.config.rope_scaling
    return Placement(first, 0 if scaling is None else scaling.effective_length(length - first))


def first_in_context(length: int, context: int) -> int:
    """The index of the first token that is read, in a text of `length` tokens."""
    # For example, context 8: texts of up to 8 tokens are read from 0, of 9 to 12 from 4, of 13 to 16 from 8.
    half = (context + 1) // 2
    excess = max(length - context, 0)  # this many tokens are too many
    return -(-excess // half) * half  # rounded up to a multiple of `half`


def next_logits(model: GPT, ids: Sequence[int], cache: Cache | None = None) -> np.ndarray:
    """Logits (V,), on the CPU, of the token after `ids`. With a cache, `ids` continue the text in it."""
    return next_logits_of_rows(model, np.array([ids]), cache)[0]


def next_logits_of_rows(model: GPT, ids: np.ndarray, cache: Cache | None = None) -> np.ndarray:
    """The same for several texts of one length: ids (B, T) -> logits (B, V)."""
    # A model that has diverged overflows: that is seen in its logits, and needs no warnings of NumPy.
    with no_grad(), no_dropout(model), np.errstate(all="ignore"):
        x = model.hidden(ids, cache=cache)  # (B, T, C)
        # Only the last token predicts one that is not known yet, so the head is computed only for this token:
        # (B, C) -> (B, V).
        return to_device(model.logits(x[:, -1]).data, "cpu")
