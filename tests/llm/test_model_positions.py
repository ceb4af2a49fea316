"""The tables of positions: sinusoids by the formula of the paper, and positions of any integer dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.positions import sinusoids


def by_the_paper(positions: list[int], dim: int) -> list[list[float]]:
    """Vaswani et al. 2017, section 3.5: PE(pos, 2i) = sin(pos / 10000^(2i/dim)), PE(pos, 2i+1) the cosine of it."""
    waves = (math.sin, math.cos)
    return [[waves[c % 2](pos / 10000 ** (2 * (c // 2) / dim)) for c in range(dim)] for pos in positions]


def check_sinusoids(table: np.ndarray, positions: list[int], dim: int) -> None:
    assert table.shape == (len(positions), dim)
    # float64: the angle, up to 1e5, is rounded, and so the wave is off by 1e5 roundings at most
    np.testing.assert_allclose(table, by_the_paper(positions, dim), rtol=0, atol=1e-10)


positions_and_dim = st.lists(st.integers(0, 100_000), min_size=1, max_size=8), st.integers(1, 33)


@given(*positions_and_dim)
def test_sinusoids_are_those_of_the_paper(positions: list[int], dim: int) -> None:
    check_sinusoids(sinusoids(np.array(positions), dim, np.float64), positions, dim)


@pytest.mark.control
def test_sinusoids_with_other_wavelengths_are_caught() -> None:
    angles = np.array([1, 5])[:, None] / 10000.0 ** (np.arange(1, 8, 2) / 8)
    other = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(2, 8)
    with pytest.raises(AssertionError):
        check_sinusoids(other, [1, 5], 8)


def test_the_wavelengths_go_from_2_pi_to_nearly_10000_times_that() -> None:
    table = sinusoids(np.arange(3), 512, np.float64)
    assert table[1, :2].tolist() == [math.sin(1), math.cos(1)]
    assert table[1, -2] == pytest.approx(math.sin(10000 ** -(510 / 512)), rel=1e-12)


def test_a_model_adds_these_sinusoids() -> None:
    model = GPT(GPTConfig(vocab_size=7, context=8, layers=1, heads=1, dim=6, positions="sinusoidal"))
    (table,) = model._sinusoid_table(slice(0, 5), model.embedding.weight.data)
    np.testing.assert_allclose(table, by_the_paper(list(range(5)), 6), rtol=0, atol=1e-6)  # float32


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rope", "alibi", "none"])
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32, np.uint64]),
)
def test_ids_positions_and_documents_may_have_any_integer_dtype(positions: Any, seed: int, dtype: Any) -> None:
    """Differences of unsigned positions would wrap around."""
    rng = np.random.default_rng(seed)
    config = GPTConfig(vocab_size=100, context=64, layers=1, heads=2, dim=8, positions=positions, window=3)
    model = GPT(config, rng=seed)
    ids, at = rng.integers(0, 100, (2, 9)), np.sort(rng.integers(0, 64, (2, 9)), axis=1)
    documents = np.sort(rng.integers(0, 3, (2, 9)), axis=1)[:, ::-1]
    expected = model(ids, positions=at, documents=documents).numpy()
    received = model(ids.astype(dtype), positions=at.astype(dtype), documents=documents.astype(dtype)).numpy()
    np.testing.assert_array_equal(received, expected)
