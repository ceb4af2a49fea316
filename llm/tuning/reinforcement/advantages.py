"""Advantages: how much better a completion is than what was to be expected.

The policy gradient is the mean of A ∇log π(y) over sampled completions y, with an advantage A = r - b: the reward minus
a baseline. As long as b does not depend on y, it changes nothing in expectation, because the mean of ∇log π(y) is 0;
but it makes the noise much smaller. The rows of the table below are choices of b; G completions share a prompt.

    none            b = 0
    running         the mean of all rewards of earlier steps                 unbiased
    batch           the mean reward of all completions of this step, N       the expected gradient times 1 - 1/N
    group           the mean reward of the G completions of the prompt       the expected gradient times 1 - 1/G
    leave_one_out   the mean reward of the G - 1 others of the prompt        unbiased: RLOO, arXiv 2402.14740

`batch` and `group` contain the reward of y itself, which is where the factors come from; tests compute all of them on a
policy whose completions can be enumerated. GRPO (arXiv 2402.03300) also divides by the standard deviation: `scale`.

Rewards are (P, G): P prompts, G completions of each. NaN is a reward that could not be given: it counts in no mean, and
its advantage is 0, so that nothing is learned from this completion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm.tuning.reinforcement.algorithms import Baseline, Scale

EPSILON = 1e-4  # GRPO's: added to the standard deviation
ROUNDING = 1e-9  # the standard deviation of equal rewards may be as large as this


@dataclass
class RunningMean:
    """The mean of all rewards seen so far. It begins at 0."""

    mean: float = 0.0
    count: int = 0

    def add(self, rewards: np.ndarray) -> None:
        known = rewards[~np.isnan(rewards)]
        self.count += known.size
        if known.size:
            self.mean += float((known - self.mean).sum()) / self.count


def advantages_of(
    rewards: np.ndarray, baseline: Baseline = "group", scale: Scale = "group", running: float = 0.0
) -> np.ndarray:
    """(P, G) float64. `running`: the baseline of that name."""
    rewards = np.asarray(rewards, dtype=np.float64)
    advantages = rewards - baseline_of(rewards, baseline, running)
    if scale != "none":
        spread = deviation(rewards, axis=1 if scale == "group" else None)
        # Equal rewards have no spread to divide by. With the baseline of the group their advantages are 0 in any case;
        # with another one, dividing by EPSILON would make them 10,000 times as large as they are.
        advantages = advantages / np.where(spread > ROUNDING, spread + EPSILON, 1.0)
    return np.nan_to_num(advantages, nan=0.0)


def baseline_of(rewards: np.ndarray, baseline: Baseline, running: float = 0.0) -> np.ndarray:
    """What is subtracted from each reward; broadcasts with (P, G). NaN where there is nothing to compare with."""
    if baseline == "group":
        return mean(rewards, axis=1)  # (P, 1)
    if baseline == "batch":
        return mean(rewards, axis=None)  # (1, 1)
    if baseline == "leave_one_out":
        return leave_one_out(rewards)  # (P, G)
    return np.array(running if baseline == "running" else 0.0)


def leave_one_out_reference(rewards: np.ndarray) -> np.ndarray:
    """The definition of `leave_one_out`."""
    rows = [[mean(np.delete(row, g)[None], axis=1).item() for g in range(row.size)] for row in rewards]
    return np.array(rows).reshape(rewards.shape)


def leave_one_out(rewards: np.ndarray) -> np.ndarray:
    """The mean of the other rewards of the group (P, G); NaN where there are no others."""
    known = ~np.isnan(rewards)
    own = np.where(known, rewards, 0.0)
    others = known.sum(axis=1, keepdims=True) - known
    total = own.sum(axis=1, keepdims=True) - own
    return np.divide(total, others, out=np.full(rewards.shape, np.nan), where=others > 0)


def mean(rewards: np.ndarray, axis: int | None) -> np.ndarray:
    """The mean of the rewards that are known, with the axes kept; NaN where there are none."""
    known = ~np.isnan(rewards)
    count = known.sum(axis=axis, keepdims=True)
    total = np.where(known, rewards, 0.0).sum(axis=axis, keepdims=True)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def deviation(rewards: np.ndarray, axis: int | None) -> np.ndarray:
    """The standard deviation of the rewards that are known, with n - 1 below the sum; 0 where fewer than 2 are."""
    known = ~np.isnan(rewards)
    below = known.sum(axis=axis, keepdims=True) - 1
    squares = np.where(known, rewards - mean(rewards, axis), 0.0) ** 2
    total = squares.sum(axis=axis, keepdims=True)
    return np.sqrt(np.divide(total, below, out=np.zeros_like(total), where=below > 0))
