"""The sampler of llama2.c, against its loops in plain Python and against texts that run.c has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llm
from llm import hub
from llm.inference.generate import generate
from llm.inference.llama2c_sampling import Llama2cSampler
from llm.inference.sampling import Sampling
from tests.llm.gpts import random_gpt

SEEDS = st.integers(1, 2**64 - 1)
f32 = np.float32


# --- the loops of run.c -----------------------------------------------------------------------------------------------


def plain_random(state: list[int]) -> f32:
    """A number, after which `state` is the next one. NumPy's integers of 64 bits overflow as those of C do."""
    with np.errstate(over="ignore"):
        x = np.uint64(state[0])
        for shift, left in ((12, False), (25, True), (27, False)):
            x ^= x << np.uint64(shift) if left else x >> np.uint64(shift)
        state[0] = int(x)
        product = x * np.uint64(0x2545F4914F6CDD1D)
    return f32(int(product) >> 32 >> 8) / f32(16777216.0)


def plain_sample(logits: np.ndarray, temperature: float, top_p: float, state: list[int]) -> int:
    scaled = [f32(logit) / f32(temperature) for logit in logits]
    probabilities = list(np.exp(np.array(scaled) - max(scaled)))
    total = f32(0)
    for p in probabilities:
        total += p
    probabilities = [p / total for p in probabilities]
    coin = plain_random(state)
    if top_p >= 1:
        return first_above(probabilities, coin)
    cutoff = (f32(1) - f32(top_p)) / f32(len(probabilities) - 1)
    pairs = sorted(((p, i) for i, p in enumerate(probabilities) if p >= cutoff), key=lambda pair: (-pair[0], pair[1]))
    cumulative, last = f32(0), len(pairs) - 1
    for n, (p, _) in enumerate(pairs):
        cumulative += p
        if cumulative > f32(top_p):
            last = n
            break
    return pairs[first_above([p for p, _ in pairs[: last + 1]], coin * cumulative)][1]


def first_above(probabilities: list[f32], number: f32) -> int:
    end = f32(0)
    for i, p in enumerate(probabilities):
        end += p
        if number < end:
            return i
    return len(probabilities) - 1


@given(
    st.lists(st.lists(st.floats(-9, 9, width=32), min_size=5, max_size=5), min_size=1, max_size=6),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([0.3, 0.9, 0.999, 1.0]),
    SEEDS,
)
def test_tokens_are_those_of_the_loops(rows: list[list[float]], temperature: float, top_p: float, seed: int) -> None:
    sampler, state = Llama2cSampler(temperature, top_p, seed), [seed]
    for row in rows:
        logits = np.array(row, f32)
        assert sampler(logits) == plain_sample(logits, temperature, top_p, state)
    assert sampler.state == state[0]


def test_numbers_are_uniform() -> None:
    sampler = Llama2cSampler(1.0, 1.0, seed=7)
    numbers = np.array([sampler.random() for _ in range(20000)])
    assert numbers.dtype == f32 and numbers.min() >= 0 and numbers.max() < 1
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    # Each count has a standard deviation of 42; 5 of them are exceeded by chance once in 10^5 times, and the seed is
    # fixed.
    assert np.abs(counts - 2000).max() < 5 * 42.5


@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=9), SEEDS, st.sampled_from([1e-6, 0.5, 1.0]))
def test_rows_of_any_length(row: list[float], seed: int, top_p: float) -> None:
    logits = np.array(row, f32)
    assert 0 <= Llama2cSampler(1.0, top_p, seed)(logits) < len(row)
    assert Llama2cSampler(0.0, top_p, seed)(logits) == logits.argmax()


# --- as an option -----------------------------------------------------------------------------------------------------


def test_it_is_an_option_of_sampling() -> None:
    model = random_gpt(llm.GPTConfig(vocab_size=11, context=8, layers=1, heads=2, dim=8), 0, f32)
    sampling = Sampling(temperature=1.0, top_p=0.9, sampler="llama2c")
    texts = [list(generate(model, [1], max_tokens=12, sampling=sampling, seed=seed)) for seed in (5, 5, 6)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("other", [{"top_k": 3}, {"min_p": 0.1}, {"repetition_penalty": 1.1}])
def test_options_that_it_does_not_know_are_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the sampler llama2c has no top k"):
        Sampling(sampler="llama2c", **other)


@pytest.mark.parametrize("seed", [0, 2**64])
def test_seeds_that_it_cannot_use_are_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"takes seeds from 1 to 2\^64 - 1"):
        Llama2cSampler(1.0, 1.0, seed)


@pytest.mark.parametrize("logits", [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, -np.inf]])
def test_a_model_that_has_diverged_is_refused(logits: list[float]) -> None:
    with pytest.raises(ValueError, match="no token can be drawn"):
        Llama2cSampler(1.0, 0.9, 1)(np.array(logits, f32))


# --- a real model: what run.c wrote -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stories(shared_data: Path) -> Path:
    return shared_data / "stories260K"


@pytest.fixture(scope="module", params=["bin", "folder", "gguf"])
def model(request: pytest.FixtureRequest, stories: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """stories260K in each of its forms."""
    if request.param == "bin":
        return llm.load(stories / "stories260K.bin")
    if request.param == "folder":
        return llm.load(stories / "hf", tokenizer=stories / "tok512.bin")
    pytest.importorskip("gguf")
    from llm.hub.save_gguf import save_gguf

    path = tmp_path_factory.mktemp("gguf") / "stories.gguf"
    save_gguf(*hub.load(stories / "stories260K.bin"), path, "F32")
    return llm.load(path)


@pytest.mark.shared
def test_greedy_text_is_that_of_run_c(model: Any, stories: Path) -> None:
    prompt, expected = "Once upon a time", (stories / "golden_t0_n200_once_upon_a_time.txt").read_text()
    # 200 steps of run.c: the first 4 read the prompt.
    text = llm.generate(*model, prompt, max_tokens=200 - 4, sampling=Sampling(temperature=0))
    assert f"{prompt}{text}\n" == expected


@pytest.mark.shared
def test_sampled_text_is_that_of_run_c(model: Any, stories: Path) -> None:
    sampling = Sampling(temperature=1.0, top_p=0.9, sampler="llama2c")
    text = llm.generate(*model, max_tokens=256, sampling=sampling, seed=133742)
    assert f"{text}\n" == (stories / "golden_t1_p0.9_s133742.txt").read_text()
