"""Generation: with a cache as without, at any length, for any choice of model; and what ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference.generate import CachedReader, first_in_context, generate, generate_reference, next_logits, read_all
from llm.inference.sampling import Sampling
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.rope_scaling import RopeScaling
from minigrad import Tensor
from minigrad.tensor import mode
from tests.llm.gpts import SEEDS, VOCAB, configs, random_gpt, token_ids

CONTEXT = 8
PLAIN = Sampling(temperature=1.0, top_p=1.0)
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_k=st.sampled_from([None, 3]),
    top_p=st.sampled_from([0.7, 1.0]),
    min_p=st.sampled_from([0.0, 0.1]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
)


class Fake:
    """A model whose logits are a function of the token before: `table[id]` is a row (V,). It counts what it reads."""

    def __init__(self, table: np.ndarray, context: int = CONTEXT):
        self.config, self.training = (
            SimpleNamespace(vocab_size=len(table), context=context, layers=0, rope_scaling=None),
            False,
        )
        self.table, self.tokens_read, self.context = table, 0, context

    def hidden(self, ids: np.ndarray, cache: Any = None) -> Tensor:
        self.tokens_read += ids.size
        if cache is not None:
            cache.advance(slice(0, cache.length + ids.size))
        return Tensor(self.table[ids])  # (1, T, V)

    def logits(self, x: Tensor) -> Tensor:
        return x


def counting(size: int, **options: Any) -> Any:
    """Continues n with n + 1, and the last id with 0, for certain."""
    return Fake(np.where(np.roll(np.eye(size), 1, axis=1) > 0, 0.0, -np.inf), **options)


def uniform(size: int) -> Any:
    return Fake(np.zeros((size, size)))


# --- cached equals uncached -------------------------------------------------------------------------------------------


@given(configs(context=CONTEXT), SEEDS, st.integers(1, 2 * CONTEXT + 3), SAMPLINGS)
def test_generate_draws_what_the_reference_draws(config: GPTConfig, seed: int, length: int, sampling: Sampling) -> None:
    """In float64 the two differ by rounding, 1e-13 or so, which moves no token drawn with numbers of 53 bits unless by
    extreme bad luck.
    """
    model, prompt = random_gpt(config, seed), list(token_ids(np.random.default_rng(seed), length))
    fast, plain = (
        list(f(model, prompt, max_tokens=12, sampling=sampling, seed=seed)) for f in (generate, generate_reference)
    )
    assert fast == plain
    assert len(fast) == 12


def difference(model: GPT, seed: int, length: int, reader: Callable[[GPT], Any]) -> float:
    """The largest difference between the logits of a reader and of reading everything, as a text grows; relative to
    logits above 1.
    """
    ids, read = list(token_ids(np.random.default_rng(seed), 3 * CONTEXT)), reader(model)
    pairs = [(read(ids[:n]), read_all(model, ids[:n])) for n in range(length, len(ids))]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1)) for a, b in pairs)


@given(configs(context=CONTEXT), SEEDS, st.integers(1, 2 * CONTEXT))
def test_cached_and_uncached_logits_agree_to_1e_5_in_float32(config: GPTConfig, seed: int, length: int) -> None:
    assert difference(random_gpt(config, seed, np.float32), seed, length, CachedReader) < 1e-5


LENGTH_SCALINGS = [
    RopeScaling("longrope", original_context=5, short_factors=(1.0, 1.1), long_factors=(2.0, 4.0)),
    RopeScaling("dynamic", factor=4.0, original_context=5),
]


@pytest.mark.parametrize("scaling", LENGTH_SCALINGS, ids=lambda scaling: scaling.kind)
@given(SEEDS, st.integers(1, CONTEXT))
def test_a_text_that_becomes_so_long_that_all_angles_change_is_read_again(
    scaling: RopeScaling, seed: int, length: int
) -> None:
    config = GPTConfig(VOCAB, CONTEXT, 2, 1, dim=4, positions="rope", rope_scaling=scaling)
    assert difference(random_gpt(config, seed), seed, length, CachedReader) < 1e-12


@pytest.mark.control
def test_a_cache_that_is_never_emptied_is_noticed() -> None:

    class Endless(CachedReader):
        def __call__(self, ids: Sequence[int]) -> np.ndarray:
            return next_logits(self.model, ids[self.cache.length :], self.cache)

    config = GPTConfig(vocab_size=VOCAB, context=CONTEXT, layers=1, heads=1, dim=4, positions="rope")
    assert difference(random_gpt(config, 0), 0, 1, Endless) > 1e-3


# --- the context ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 200), st.integers(1, 40))
def test_the_context_holds_the_newest_tokens_and_moves_by_halves(length: int, context: int) -> None:
    start, half = first_in_context(length, context), (context + 1) // 2
    assert start % half == 0
    assert 1 <= length - start <= context  # what is read
    assert start == 0 or length - (start - half) > context  # no more is dropped than must be


@given(st.integers(1, 30), st.integers(0, 60), st.integers(1, 16))
def test_two_tokens_are_read_for_each_one_written(length: int, max_tokens: int, context: int) -> None:
    """And the prompt, and half a context that may have been read just before the end."""
    model = counting(5, context=context)
    assert len(list(generate(model, [0] * length, max_tokens=max_tokens))) == max_tokens
    assert model.tokens_read <= min(length, context) + 2 * max_tokens + (context + 1) // 2


# --- what is drawn, and when it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("generator", [generate, generate_reference])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_tokens": 0}, []),
        ({"max_tokens": 3}, [2, 3, 4]),
        ({"max_tokens": 9, "stop_ids": (4, 0)}, [2, 3]),
        ({"max_tokens": 9, "stop_ids": {2}}, []),
        ({"max_tokens": 4, "stop_ids": (1,)}, [2, 3, 4, 0]),
    ],
)
def test_what_ends_it(generator: Callable, options: dict[str, Any], expected: list[int]) -> None:
    assert list(generator(counting(5), [0, 1], **options)) == expected


@given(SEEDS)
def test_a_seed_decides_the_text(seed: int) -> None:
    texts = [list(generate(uniform(16), [3], max_tokens=20, sampling=PLAIN, seed=n)) for n in (seed, seed, seed + 1)]
    assert texts[0] == texts[1] != texts[2]  # equal by chance: 16^-20


def test_the_repetition_penalty_applies_to_prompt_and_text() -> None:
    """Greedy, and each token is heavily penalised once it was there: all others come first, in order."""
    hard = Sampling(temperature=0, repetition_penalty=10.0)
    assert list(generate(Fake(np.ones((5, 5))), [2], max_tokens=4, sampling=hard)) == [0, 1, 3, 4]  # type: ignore[arg-type]


@pytest.mark.parametrize("generator", [generate, generate_reference])
@pytest.mark.parametrize("name", ["frequency_penalty", "presence_penalty"])
def test_the_other_penalties_apply_to_what_was_written(generator: Callable, name: str) -> None:
    """2 is in the prompt only. When each token was written once, they are equal again."""
    sampling = Sampling(temperature=0, **{name: 10.0})
    text = list(generator(Fake(np.ones((3, 3))), [2], max_tokens=4, sampling=sampling))
    assert text == [0, 1, 2, 0]


@pytest.mark.parametrize("generator", [generate, generate_reference])
def test_words_are_banned_in_the_text_after_the_prompt(generator: Callable) -> None:
    """Counting from 0 on, with 1 2 forbidden, and 4: an id of the prompt can begin a word."""
    model = Fake(np.where(np.roll(np.eye(5), 1, axis=1) > 0, 1.0, 0.0))
    sampling = Sampling(temperature=0, banned_words=((1, 2), (4,)))
    assert list(generator(model, [0, 1], max_tokens=5, sampling=sampling)) == [0, 1, 0, 1, 0]


def test_dropout_is_off_and_training_goes_on_afterwards() -> None:
    config = GPTConfig(vocab_size=VOCAB, context=CONTEXT, layers=1, heads=1, dim=8, dropout=0.5)
    model = random_gpt(config, 1)
    expected = list(generate(model, [1], max_tokens=5, sampling=PLAIN))
    model.train()
    assert list(generate(model, [1], max_tokens=5, sampling=PLAIN)) == expected
    assert all(module.training for _, module in model.named_modules())
    plain = random_gpt(replace(config, dropout=0.0), 1)
    assert list(generate(plain, [1], max_tokens=5, sampling=PLAIN)) == expected


def test_recording_is_off_only_while_the_model_reads() -> None:
    tokens = generate(
        random_gpt(GPTConfig(vocab_size=VOCAB, context=CONTEXT, layers=1, heads=1, dim=8), 1), [1], max_tokens=2
    )
    for _ in tokens:
        assert mode.recording


@pytest.mark.parametrize("generator", [generate, generate_reference])
@pytest.mark.parametrize(
    ("prompt", "options", "complaint"),
    [
        ([], {}, "at least one token"),
        ([1, 5], {}, "ids from 1 to 5 and the model knows 0 to 4"),
        ([-1], {}, "ids from -1 to -1"),
        ([1], {"max_tokens": -1}, "max_tokens and seed must not be negative, got -1"),
        ([1], {"seed": -2}, "negative, got 1 and -2"),
        ([1], {"sampling": Sampling(logit_bias=((5, 1.0),))}, "has the id 5, and the model knows 0 to 4"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(
    generator: Callable, prompt: list[int], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        generator(counting(5), prompt, **{"max_tokens": 1, **options})
