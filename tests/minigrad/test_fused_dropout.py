"""Dropout: the same mask from the same key, other masks from other keys, the right fraction, the stream of keys."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, random
from minigrad.fused.dropout import _key_words, keep_mask

# Seeds that differ by 2**64 are the same seed.
keys = st.tuples(st.integers(-(2**63), 2**64 - 1), st.integers(0, 2**40), st.integers(0, 1000))
probabilities = st.floats(0.01, 0.99)


def assert_fraction(hits: np.ndarray, expected: float) -> None:
    """The fraction of True is within 5.5 standard deviations of a fair draw: outside by chance once in 26 million."""
    sigma = math.sqrt(expected * (1 - expected) / hits.size)
    assert abs(hits.mean() - expected) <= 5.5 * sigma + 2**-31


@given(keys, probabilities, st.integers(0, 2**32 - 1))
def test_keeps_the_mean(key: tuple, p: float, seed: int) -> None:
    n = 40_000
    x = np.random.default_rng(seed).uniform(0.5, 1.5, n)
    y = mg.dropout(Tensor(x), p, key).data
    # The standard deviation of the mean: each element is x / (1 − p) with probability 1 − p, else 0.
    sigma = math.sqrt((x * x).sum() * p / (1 - p)) / n
    assert abs(y.mean() - x.mean()) <= 5.5 * sigma
    np.testing.assert_allclose(y[y != 0], (x / (1 - p))[y != 0], rtol=1e-15)


@given(keys, probabilities)
def test_neighbours_rows_and_keys_are_independent(key: tuple, p: float) -> None:
    mask = keep_mask(key, (200, 200), p)
    keep = 1 - p
    assert_fraction(mask, keep)
    seed, step, place = key
    for nearby in ((seed + 1, step, place), (seed, step + 1, place), (seed, step, place + 1), (step, seed, place)):
        if nearby != key:
            assert_fraction(mask & keep_mask(nearby, mask.shape, p), keep * keep)
    for neighbours in (np.roll(mask, 1, axis=1), np.roll(mask, 1, axis=0), np.roll(mask, 16, axis=1)):
        assert_fraction(mask & neighbours, keep * keep)


@given(keys, st.floats(0.05, 0.95), st.integers(0, 2**16))
def test_elements_far_apart_are_independent(key: tuple, p: float, start: int) -> None:
    """At distances that are powers of two, where hashes of counters are weakest."""
    n, keep = 30_000, 1 - p
    near, *far = (
        keep_mask(key, (2**32,), p, block=(slice(first, first + n),))
        for first in (start, *(start + 2**k for k in range(0, 32, 3)))
    )
    for other in far:
        assert_fraction(near & other, keep**2)


@pytest.mark.control
def test_a_poor_generator_is_noticed() -> None:
    """Its masks have equal neighbours."""
    poor = np.repeat(keep_mask((0, 0, 0), (200, 100), 0.5), 2, axis=1)
    assert_fraction(poor, 0.5)
    with pytest.raises(AssertionError):
        assert_fraction(poor & np.roll(poor, 1, axis=1), 0.25)


@given(st.data(), keys, probabilities)
def test_a_block_has_the_bits_of_the_whole_mask(data: st.DataObject, key: tuple, p: float) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    block = tuple(slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in shape)
    np.testing.assert_array_equal(keep_mask(key, shape, p, block=block), keep_mask(key, shape, p)[block])


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3)])
def test_extreme_probabilities_and_shapes(shape: tuple) -> None:
    x = Tensor(np.ones(shape), requires_grad=True)
    assert mg.dropout(x, 0) is x
    y = mg.dropout(x, 1, (0, 0, 0))
    assert y.shape == shape
    assert not y.data.any()
    assert keep_mask((0, 0, 0), shape, 0.0).all()
    for p in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            mg.dropout(x, p)


def test_the_mask_of_a_key_never_changes() -> None:
    """Resumed runs and other machines rely on these bits."""
    found = "".join(map(str, keep_mask((1, 2, 3), (32,), 0.5).astype(int)))
    assert found == "00000000011011100001111111010101"


@given(keys, st.integers(0, 2**32 - 1))
def test_the_hash_is_lowbias32_with_the_key_inside(key: tuple, index: int) -> None:
    """Written out for one element with Python's integers."""
    first, second = _key_words(key)
    x = index * 0x9E3779B1 % 2**32 ^ first
    x = (x ^ x >> 16) * 0x7FEB352D % 2**32
    bits = (x ^ x >> 15 ^ second) * 0x846CA68B % 2**32
    for p in (0.1, 0.5, 0.9):
        assert keep_mask(key, (2**32,), p, block=(slice(index, index + 1),))[0] == (bits / 2**32 < 1 - p)


# --- the stream of keys -----------------------------------------------------------------------------------------------


def test_each_use_takes_the_next_key_and_seed_starts_again() -> None:
    x = Tensor(np.ones(64))
    random.seed(5, step=2)
    first, second = (mg.dropout(x, 0.5).data for _ in range(2))
    assert random.stream_state() == (5, 2, 2)
    assert (first != second).any()
    random.seed(5, step=2)
    np.testing.assert_array_equal(mg.dropout(x, 0.5).data, first)
    np.testing.assert_array_equal(mg.dropout(x, 0.5, (5, 2, 1)).data, second)


def test_replay_goes_back_and_afterwards_the_stream_goes_on() -> None:
    random.seed(5)
    state, keys = random.stream_state(), [random.next_key() for _ in range(3)]
    with random.replay(state):
        assert [random.next_key() for _ in range(2)] == keys[:2]
    assert random.next_key() == (5, 0, 3)


def test_threads_have_streams_of_their_own() -> None:
    def worker(seed: int) -> list:
        random.seed(seed)
        return [random.next_key() for _ in range(50)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(worker, range(8)))
    assert found == [[(seed, 0, place) for place in range(50)] for seed in range(8)]
