"""Errors, intervals and tests of significance, against other computations of the same."""

from __future__ import annotations

import math
import statistics
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation.statistics import (
    Share,
    aligned,
    mcnemar,
    paired,
    shares,
    standard_error,
    standard_error_of_ratio,
    wilson,
)

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)
SUMS = {"rel": 1e-9, "abs": 1e-9}  # of a few dozen numbers up to 1e3, in float64


@given(st.integers(1, 400), st.data())
def test_the_interval_holds_the_shares_that_are_near_enough(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    low, high = wilson(right, count)
    assert 0 <= low <= right / count <= high <= 1
    for bound, is_end in ((low, right == 0), (high, right == count)):  # the equation that defines the bounds
        if not is_end:
            deviation = (bound * (1 - bound) / count) ** 0.5
            assert abs(right / count - bound) == pytest.approx(1.959964 * deviation, abs=1e-9)


def test_known_intervals() -> None:
    # Newcombe 1998, table I
    known = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (right, count), bounds in known.items():
        assert wilson(right, count) == pytest.approx(bounds, abs=5e-5)


def test_each_kind_has_a_share() -> None:
    found = shares([True, False, True], ["sums", "words", "sums"])
    assert found == {"sums": Share(2, 2), "words": Share(0, 1), "all": Share(2, 3)}
    assert list(aligned(found))[2] == "all    2 of 3 right, 66.7% (95% interval 20.8% to 93.9%)"
    assert shares([True], ["sums"]) == {"sums": Share(1, 1)}


@given(VALUES)
def test_the_standard_error_is_the_sample_deviation_by_the_root_of_n(values: list[float]) -> None:
    expected = statistics.stdev(values) / math.sqrt(len(values))
    assert standard_error(values) == pytest.approx(expected, **SUMS)
    assert math.isnan(standard_error(values[:1]))


@given(st.integers(2, 300), st.data())
def test_the_standard_error_of_a_share_is_that_of_ones_and_zeros(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    assert Share(right, count).stderr == pytest.approx(standard_error([1.0] * right + [0.0] * (count - right)), **SUMS)


def test_the_standard_error_of_a_ratio_is_the_deviation_over_many_draws() -> None:
    rng = np.random.default_rng(3)
    weights = rng.integers(1, 30, (4000, 100)).astype(float)
    values = weights * 2 + rng.normal(0, 3, weights.shape) * np.sqrt(weights)
    errors = [standard_error_of_ratio(v, w) for v, w in zip(values[:200], weights[:200])]
    # 4000 draws know a deviation to 1 / sqrt(8000), about 1%; the first order misses a little too.
    assert np.mean(errors) == pytest.approx((values.sum(1) / weights.sum(1)).std(), rel=0.04)


@given(st.integers(0, 8), st.integers(0, 8))
def test_mcnemar_counts_the_tosses_of_a_coin_that_are_as_uneven(won: int, lost: int) -> None:
    tosses = [abs(2 * sum(heads) - won - lost) for heads in product((0, 1), repeat=won + lost)]
    expected = sum(each >= abs(won - lost) for each in tosses) / len(tosses)
    assert mcnemar(won, lost) == pytest.approx(expected)


def test_mcnemar_of_many_items_does_not_overflow() -> None:
    assert mcnemar(5000, 5000) == 1.0
    assert 0 < mcnemar(5200, 4800) < 1e-3
    assert mcnemar(20_000, 0) == 0.0 or mcnemar(20_000, 0) < 1e-300


@given(VALUES, st.integers(0, 10**6))
def test_a_paired_comparison_turns_round_with_its_models(values: list[float], seed: int) -> None:
    others = (np.array(values) + np.random.default_rng(seed).normal(size=len(values)).round()).tolist()
    there, back = paired(values, others), paired(others, values)
    assert there.difference == pytest.approx(-back.difference)
    assert (there.won, there.lost, there.p) == (back.lost, back.won, back.p)
    assert there.interval[0] <= there.difference <= there.interval[1]


def test_the_interval_of_a_paired_difference_holds_the_true_one_in_95_of_100_draws() -> None:
    rng = np.random.default_rng(4)
    hard = rng.random((2000, 100))  # both models find the same items hard: their answers are correlated
    first, second = hard < 0.6, (hard < 0.5) | (rng.random(hard.shape) < 0.1)
    truth = 0.6 - (0.5 + 0.5 * 0.1)
    found = [paired(a, b).interval for a, b in zip(first.astype(float), second.astype(float))]
    covered = np.mean([low <= truth <= high for low, high in found])
    assert 0.93 < covered < 0.97  # 95% +- 4 deviations of a share of 2000


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_the_interval_holds_the_observed_difference_and_is_never_a_point(won: int, lost: int, same: int) -> None:
    if count := won + lost + same:
        low, high = paired([1.0] * won + [0.0] * (lost + same), [0.0] * won + [1.0] * lost + [0.0] * same).interval
        assert -1 <= low <= (won - lost) / count <= high <= 1 and high - low > 0.05
