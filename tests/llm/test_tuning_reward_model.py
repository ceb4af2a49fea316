"""The loss of reward models."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.tuning.preferences.reward_loss import reward_loss
from minigrad.gradcheck import gradcheck
from tests.llm.gpts import SEEDS

margins = st.floats(0, 3)
centers = st.floats(0, 1)


@given(SEEDS, st.integers(1, 5), margins, centers)
def test_gradients_agree_with_finite_differences(seed: int, count: int, margin: float, center: float) -> None:
    rng = np.random.default_rng(seed)
    gradcheck(lambda c, r: reward_loss(c, r, margin=margin, center=center), [rng.normal(size=count) for _ in range(2)])


@given(SEEDS, centers)
def test_the_loss_is_that_of_bradley_and_terry(seed: int, center: float) -> None:
    rng = np.random.default_rng(seed)
    chosen, rejected, margin = rng.normal(size=(3, 4))
    probability = 1 / (1 + np.exp(-(chosen - rejected - margin)))  # that the chosen one is better by the margin
    expected = -np.log(probability) + center * (chosen + rejected) ** 2
    np.testing.assert_allclose(reward_loss(chosen, rejected, margin=margin, center=center).data, expected, rtol=1e-9)


@given(st.floats(-5, 5))
def test_equal_rewards_give_log_2(reward: float) -> None:
    assert float(reward_loss(np.array([reward]), np.array([reward])).data[0]) == pytest.approx(math.log(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_rewards_give_finite_losses(dtype: Any) -> None:
    extremes = np.array([-1e8, -80, 0, 80, 1e8], dtype)
    losses = reward_loss(extremes, extremes[::-1].copy())
    assert losses.dtype == dtype and np.isfinite(losses.data).all()


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a rejected one"):
        reward_loss(np.zeros(2), np.zeros(3))


@pytest.mark.parity
@given(SEEDS)
def test_the_loss_is_that_of_trl_s_reward_trainer(seed: int) -> None:
    import torch
    import torch.nn.functional as F

    chosen, rejected, margin = (torch.tensor(x) for x in np.random.default_rng(seed).normal(size=(3, 4)))
    expected = -F.logsigmoid(chosen - rejected - margin).mean() + 0.01 * torch.mean((chosen + rejected) ** 2)
    found = reward_loss(chosen.numpy(), rejected.numpy(), margin=margin.numpy(), center=0.01)
    assert float(found.data.mean()) == pytest.approx(float(expected), rel=1e-9)
