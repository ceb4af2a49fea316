"""Log-probabilities: against their definition, also where probabilities are 0 in float64; and the most likely ones."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference.logprobs import log_probabilities, most_likely
from tests.llm.rows import logit_rows

WIDE_ROWS = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=8)


def plain(row: list[float]) -> list[float]:
    """By math.fsum, whose sums are exact but for one rounding."""
    largest = max(row)
    log_sum = math.log(math.fsum(math.exp(x - largest) for x in row))
    return [float(Fraction(x) - Fraction(largest) - Fraction(log_sum)) for x in row]


@given(WIDE_ROWS, st.sampled_from([np.float32, np.float64]))
def test_log_probabilities(row: list[float], dtype: type) -> None:
    """1e-15: the last digits of exp, log and a subtraction; absolute ones where the logarithm of the sum is near 0."""
    result = log_probabilities(np.array(row, dtype))
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, plain(row), rtol=1e-15, atol=1e-15)


@given(logit_rows())
def test_they_are_logarithms_of_probabilities(row: np.ndarray) -> None:
    logprobs = log_probabilities(row)
    assert (logprobs <= 0).all()
    assert abs(np.exp(logprobs).sum() - 1) < 1e-14
    np.testing.assert_array_equal(logprobs == -np.inf, row == -np.inf)


def test_extremes() -> None:
    np.testing.assert_array_equal(log_probabilities(np.array([0.0, -1e4])), [0, -1e4])
    np.testing.assert_array_equal(log_probabilities(np.array([-1e308, 1e308])), [-np.inf, 0])
    np.testing.assert_array_equal(log_probabilities(np.array([3.0])), [0])
    assert log_probabilities(np.float16([6e4, 6e4]))[0] == math.log(0.5)


@pytest.mark.parametrize("row", [[1.0, np.nan], [1.0, np.inf], [-np.inf, -np.inf]])
def test_logits_without_probabilities_are_refused(row: list[float]) -> None:
    with pytest.raises(ValueError, match="the largest logit of the model is"):
        log_probabilities(np.array(row))


@given(logit_rows(), st.integers(0, 14))
def test_the_most_likely_ones(row: np.ndarray, n: int) -> None:
    logprobs = log_probabilities(row)
    expected = sorted(range(len(row)), key=lambda i: (-logprobs[i], i))[:n]
    assert most_likely(logprobs, 0) == []
    assert most_likely(logprobs, n) == [(i, logprobs[i]) for i in expected]
    assert all(type(i) is int and type(x) is float for i, x in most_likely(logprobs, n))


@given(logit_rows(), st.integers(1, 14))
def test_the_greedy_token_is_the_one_whose_number_is_the_largest(row: np.ndarray, n: int) -> None:
    """To the last bit: lm-eval compares a token with the largest of the top ones in this way."""
    logprobs = log_probabilities(row)
    largest = max(x for _, x in most_likely(logprobs, n))
    assert largest == float(logprobs[np.argmax(row)])
    assert [float(x) == largest for x in logprobs] == [x == row.max() for x in row]
