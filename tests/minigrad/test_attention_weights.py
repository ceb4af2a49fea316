"""What causal attention may read, whatever the numbers are: the past, all of it, and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.integers(1, 150)  # 150: three blocks of queries


def weights(seed: int, T: int) -> np.ndarray:
    """The weights (T, T) of one head. Value j is 1 in element j and else 0, so the output *is* the row of weights."""
    q, k = np.random.default_rng(seed).standard_normal((2, T, T))
    with mg.no_grad():
        return mg.attention(*(x[None, None] for x in (q, k, np.eye(T)))).data[0, 0]


@given(SEEDS, LENGTHS)
def test_a_query_puts_no_weight_on_later_tokens(seed: int, T: int) -> None:
    np.testing.assert_array_equal(np.triu(weights(seed, T), 1), 0)


@given(SEEDS, LENGTHS)
def test_a_query_puts_weight_on_every_token_up_to_its_own(seed: int, T: int) -> None:
    assert (weights(seed, T)[np.tri(T, dtype=bool)] > 0).all()


@given(SEEDS, LENGTHS)
def test_the_weights_of_a_query_add_up_to_1(seed: int, T: int) -> None:
    np.testing.assert_allclose(weights(seed, T).sum(axis=1), 1, rtol=1e-12)  # 150 roundings of float64
