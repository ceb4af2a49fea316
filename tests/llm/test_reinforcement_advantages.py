"""Advantages: values that are known, equal formulas, and rewards that could not be given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llm.tuning.reinforcement.advantages import (
    RunningMean,
    advantages_of,
    deviation,
    leave_one_out,
    leave_one_out_reference,
    mean,
)
from llm.tuning.reinforcement.ppo import (
    generalized_advantages,
    generalized_advantages_reference,
    token_rewards,
    value_loss,
    whiten,
)
from minigrad import Tensor

NUMBERS = st.floats(-10, 10, width=16)
REWARDS = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=NUMBERS | st.just(np.nan))
# Sums and quotients of a few numbers of size 10 in float64.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def test_groups_of_two_have_known_values() -> None:
    # Stanford CS336, assignment 5: rewards 1, 0, 0, 1 in groups of 2. GRPO adds 1e-4 to the deviation.
    found = advantages_of(np.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(found, [[0.707007, -0.707007], [-0.707007, 0.707007]], atol=1e-6)
    np.testing.assert_allclose(found / 0.5 * (np.sqrt(0.5) + 1e-4), [[1, -1], [-1, 1]], **CLOSE)


@given(REWARDS)
def test_leave_one_out_is_its_definition(rewards: np.ndarray) -> None:
    np.testing.assert_allclose(leave_one_out(rewards), leave_one_out_reference(rewards), **CLOSE)


@given(REWARDS)
def test_leave_one_out_is_the_mean_of_the_group_times_a_factor(rewards: np.ndarray) -> None:
    rewards = np.nan_to_num(rewards)
    G = rewards.shape[1]
    found = advantages_of(rewards, "leave_one_out", "none")
    expected = advantages_of(rewards, "group", "none") * G / (G - 1) if G > 1 else np.zeros_like(rewards)
    np.testing.assert_allclose(found, expected, **CLOSE)


@given(REWARDS, st.sampled_from(["none", "running", "batch", "group", "leave_one_out"]), st.data())
def test_a_missing_reward_has_the_advantage_0_and_counts_for_no_other(
    rewards: np.ndarray, baseline: str, data: st.DataObject
) -> None:
    scale = data.draw(st.sampled_from(["none", "batch", "group"]))
    found = advantages_of(rewards, baseline, scale, running=1.0)
    assert np.isfinite(found).all()
    assert (found[np.isnan(rewards)] == 0).all()
    for row, advantages in zip(rewards, found, strict=True):
        if scale != "batch" and baseline != "batch" and not np.isnan(row).all():
            known = ~np.isnan(row)
            alone = advantages_of(row[known][None], baseline, scale, running=1.0)[0]
            np.testing.assert_allclose(advantages[known], alone, **CLOSE)


@given(REWARDS)
def test_means_and_deviations_are_those_of_numpy_without_the_missing_ones(rewards: np.ndarray) -> None:
    for row, m, s in zip(rewards, mean(rewards, 1), deviation(rewards, 1), strict=True):
        known = row[~np.isnan(row)]
        np.testing.assert_allclose(m[0], known.mean() if known.size else np.nan, **CLOSE)
        np.testing.assert_allclose(s[0], known.std(ddof=1) if known.size > 1 else 0.0, **CLOSE)


@given(st.lists(REWARDS, max_size=4))
def test_the_running_mean_is_the_mean_of_all(batches: list[np.ndarray]) -> None:
    running = RunningMean()
    for rewards in batches:
        running.add(rewards)
    known = [r for rewards in batches for r in rewards.ravel() if not np.isnan(r)]
    np.testing.assert_allclose(running.mean, np.mean(known) if known else 0.0, **CLOSE)


# --- PPO --------------------------------------------------------------------------------------------------------------

ROWS = st.tuples(st.integers(1, 3), st.integers(1, 6))


@given(st.data(), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.95, 1.0]))
def test_generalized_advantages_are_their_definition(data: st.DataObject, discount: float, smoothing: float) -> None:
    shape = data.draw(ROWS)
    rewards, values = (data.draw(arrays(np.float64, shape, elements=NUMBERS)) for _ in range(2))
    found = generalized_advantages(rewards, values, discount, smoothing)
    np.testing.assert_allclose(found, generalized_advantages_reference(rewards, values, discount, smoothing), **CLOSE)


def test_with_smoothing_1_the_return_is_the_sum_of_the_rewards_to_come_and_with_0_one_step() -> None:
    rewards, values = np.array([[0.0, 0.0, 1.0]]), np.array([[0.5, 0.25, 0.125]])
    np.testing.assert_allclose(generalized_advantages(rewards, values, 1.0, 1.0) + values, [[1, 1, 1]], **CLOSE)
    np.testing.assert_allclose(generalized_advantages(rewards, values, 1.0, 0.0), [[-0.25, -0.125, 0.875]], **CLOSE)


def test_the_score_is_given_at_the_last_token_and_penalties_at_all() -> None:
    mask = np.array([[False, True, True, False], [False, False, False, False]])
    found = token_rewards(np.array([2.0, 3.0]), np.full((2, 4), 0.1), mask)
    np.testing.assert_allclose(found, [[0, -0.1, 1.9, 0], [0, 0, 0, 0]], **CLOSE)


@given(st.data())
def test_whitened_numbers_have_the_mean_0_and_the_variance_1(data: st.DataObject) -> None:
    shape = data.draw(ROWS)
    numbers, mask = data.draw(arrays(np.float64, shape, elements=NUMBERS)), data.draw(arrays(np.bool_, shape))
    found = whiten(numbers, mask)
    assert (found[~mask] == 0).all()
    if mask.sum() > 1 and numbers[mask].std() > 0.1:
        assert found[mask].mean() == pytest.approx(0, abs=1e-9)
        assert found[mask].var(ddof=1) == pytest.approx(1, rel=1e-5)  # 1e-8 is added to the variance


def test_a_value_that_moved_too_far_has_the_larger_of_two_errors_and_its_slope() -> None:
    values = Tensor(np.array([1.0, 1.0, 1.0]), requires_grad=True)
    losses = value_loss(values, np.array([0.9, 0.5, 0.5]), np.array([2.0, 2.0, 0.0]))
    np.testing.assert_allclose(losses.data, [0.5, 0.5 * 1.3**2, 0.5], **CLOSE)
    losses.sum().backward()
    np.testing.assert_allclose(values.grad.data, [-1.0, 0.0, 1.0], **CLOSE)
