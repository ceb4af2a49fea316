"""The losses of tokens, and what becomes of them: values and slopes of TRL's formulas, written here with torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.tuning.chat.packing import IGNORED
from llm.tuning.reinforcement.algorithms import ALGORITHMS, Algorithm
from llm.tuning.reinforcement.objective import PolicyBatch, PolicyGradient
from llm.tuning.reinforcement.policy_losses import (
    clipped_loss,
    divisor,
    is_clipped,
    plain_loss,
    policy_loss,
    ratio_loss,
    token_weights,
)
from minigrad import Tensor

R, T, MAX_TOKENS = 4, 5, 7
CLOSE = {"rtol": 1e-10, "atol": 1e-12}  # float64, the order of sums


def draw_batch(seed: int) -> PolicyBatch:
    rng = np.random.default_rng(seed)
    old = -rng.random((R, T)) * 3
    reference = old + rng.normal(0, 0.2, (R, T))
    targets = np.where(rng.random((R, T)) < 0.7, 1, IGNORED)
    targets[0] = IGNORED  # a completion of which nothing counts
    advantages = np.repeat(rng.normal(size=(R, 1)), T, axis=1)
    zeros = np.zeros((R, T))
    return PolicyBatch(zeros.astype(int), targets, advantages, old, reference, zeros, zeros)


def loss_and_slope(algorithm: Algorithm, batch: PolicyBatch, logprobs: np.ndarray) -> tuple[float, np.ndarray]:
    objective, mask = PolicyGradient(algorithm, max_tokens=MAX_TOKENS, fresh=False), batch.targets != IGNORED
    lp = Tensor(logprobs, requires_grad=True)
    weights = token_weights(mask, algorithm.normalization)
    loss = (objective.policy_losses(lp, batch, mask) * weights).sum() / objective.count(batch)
    loss.backward()
    return float(loss.data), lp.grad.data


def trl_loss(name: str, a: Algorithm, batch: PolicyBatch, logprobs: np.ndarray) -> tuple[float, np.ndarray]:
    """The formulas of GRPOTrainer and RLOOTrainer (TRL 1.16)."""
    torch = pytest.importorskip("torch")
    lp = torch.tensor(logprobs, requires_grad=True)
    old, ref, adv = (torch.tensor(array) for array in (batch.old, batch.reference, batch.advantages))
    mask = torch.tensor(batch.targets != IGNORED, dtype=torch.float64)
    log_ratio = lp - old
    if name == "gspo":
        log_ratio = ((log_ratio * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).unsqueeze(-1)
    if name == "rloo":
        log_ratio, adv = (log_ratio * mask).sum(-1), adv[:, 0]
    ratio = torch.exp(log_ratio)
    losses = -torch.min(ratio * adv, torch.clamp(ratio, 1 - a.low, 1 + a.high) * adv)
    if a.beta and name != "rloo":
        losses = losses + a.beta * (torch.exp(ref - lp) - (ref - lp) - 1)
    if name == "rloo":
        loss = (losses * (mask.sum(-1) > 0)).mean()  # TRL adds -A, without a gradient, where nothing counts
    elif name in ("grpo", "gspo"):
        loss = ((losses * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()
    elif name == "dr_grpo":
        loss = (losses * mask).sum() / (R * MAX_TOKENS)
    else:
        loss = (losses * mask).sum() / mask.sum().clamp(min=1.0)
    loss.backward()
    return loss.item(), lp.grad.numpy()


@pytest.mark.parity
@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "gspo", "rloo"])
@given(seed=st.integers(0, 10**6), beta=st.sampled_from([0.0, 0.04]))
def test_losses_and_slopes_are_those_of_trl(name: str, seed: int, beta: float) -> None:
    batch = draw_batch(seed)
    logprobs = batch.old + np.random.default_rng(seed + 1).normal(0, 0.3, (R, T))
    algorithm = replace(ALGORITHMS[name], beta=beta)
    found, expected = loss_and_slope(algorithm, batch, logprobs), trl_loss(name, algorithm, batch, logprobs)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, **CLOSE)


@given(seed=st.integers(0, 10**6))
def test_the_clipped_loss_is_that_of_the_ratio_within_the_bounds_and_has_no_slope_beyond(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_ratio, advantages = Tensor(rng.normal(0, 0.5, (R, T)), requires_grad=True), rng.normal(size=(R, T))
    clipped, plain = clipped_loss(log_ratio, advantages, 0.2, 0.3), ratio_loss(log_ratio, advantages)
    r = np.exp(log_ratio.data)
    too_far = (r > 1.3) & (advantages > 0) | (r < 0.8) & (advantages < 0)
    np.testing.assert_allclose(clipped.data[~too_far], plain.data[~too_far], **CLOSE)
    assert (clipped.data >= plain.data - 1e-12).all()  # a bound from above: clipping never promises more
    clipped.sum().backward()
    slope = log_ratio.grad.data
    np.testing.assert_allclose(slope, np.where(too_far, 0.0, -advantages * r), **CLOSE)
    mask = np.ones((R, T), bool)
    found = is_clipped(log_ratio.data, np.zeros((R, T)), advantages, mask, Algorithm(low=0.2, high=0.3))
    np.testing.assert_array_equal(found, too_far)
    assert not is_clipped(log_ratio.data, np.zeros((R, T)), advantages, mask, Algorithm(ratio="none")).any()


@given(seed=st.integers(0, 10**6))
def test_the_plain_loss_has_the_slope_of_the_ratio_at_1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logprobs, advantages, mask = np.log(rng.random((R, T))), rng.normal(size=(R, T)), np.ones((R, T), bool)
    plain, fresh = (Tensor(logprobs, requires_grad=True) for _ in range(2))
    plain_loss(plain, advantages).sum().backward()
    policy_loss(fresh, None, advantages, mask, Algorithm()).sum().backward()
    np.testing.assert_allclose(plain.grad.data, fresh.grad.data, **CLOSE)


def test_what_the_sum_is_divided_by() -> None:
    mask = np.array([[True, True, True, False], [True, False, False, False], [False] * 4])
    weights: Any = {
        kind: token_weights(mask, kind) / divisor(mask, kind, 10) for kind in ("token", "sequence", "constant")
    }
    np.testing.assert_allclose(weights["token"].sum(axis=1), [3 / 4, 1 / 4, 0])
    np.testing.assert_allclose(weights["sequence"].sum(axis=1), [1 / 3, 1 / 3, 0])
    np.testing.assert_allclose(weights["constant"].sum(axis=1), [3 / 30, 1 / 30, 0])
    nothing = np.zeros((2, 4), bool)
    assert all(divisor(nothing, kind, 1) > 0 for kind in weights)


def test_k1_in_a_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="the estimator k1 has a gradient of mean 0"):
        Algorithm(kl="k1", kl_in="loss", beta=0.1)
