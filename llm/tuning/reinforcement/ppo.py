"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347): a value head predicts the reward that is still
to come, and each token gets an advantage of its own.

The model has a second head, which gives a number for each place of the text: the value V_t, what the rewards from here
on are expected to be. The reward of the completion is given at its last token, and at each token the divergence from
the reference is subtracted, times beta. From these rewards R_t (generalised advantage estimation, arXiv 1506.02438):

    error       δ_t = R_t + γ V_{t+1} - V_t                 V after the last token is 0
    advantage   A_t = δ_t + γ λ A_{t+1}                     computed from right to left
    return      A_t + V_t                                   what V_t should have been

Then the advantages of the batch are whitened: they get the mean 0 and the variance 1. The returns are computed before.

All arrays are (R, T); `mask` is True at the tokens of the completion, which stand together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.adapters.attach import become
from llm.model.gpt import GPT
from llm.tuning.reinforcement.objective import PolicyBatch, PolicyGradient, logprobs_of_hidden
from minigrad.nn import Linear
from minigrad.ops import clip, maximum
from minigrad.tensor import Tensor

DISCOUNT = 1.0  # γ
SMOOTHING = 0.95  # λ: 0 trusts the value head alone, 1 only the rewards that came
VALUE_CLIP = 0.2
VALUE_WEIGHT = 0.1  # of the loss of the value head
WHITENING = 1e-8  # added to the variance


def token_rewards(scores: np.ndarray, penalties: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The rewards R_t (R, T): -`penalties` (R, T) at each token, and the score (R,) at the last one."""
    rewards = np.where(mask, -penalties, 0.0)
    last = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)  # (R,)
    rewards[np.arange(len(mask)), last] += np.where(mask.any(axis=1), scores, 0.0)
    return rewards


def generalized_advantages_reference(rewards: np.ndarray, values: np.ndarray, discount: float, smoothing: float) -> Any:
    """The definition: A_t is the sum of (γ λ)^k δ_{t+k} over k."""
    errors = rewards + discount * np.pad(values[:, 1:], ((0, 0), (0, 1))) - values
    T = errors.shape[1]
    factors = np.array([[(discount * smoothing) ** (k - t) if k >= t else 0.0 for k in range(T)] for t in range(T)])
    return errors @ factors.T


def generalized_advantages(
    rewards: np.ndarray, values: np.ndarray, discount: float = DISCOUNT, smoothing: float = SMOOTHING
) -> np.ndarray:
    """The advantages A_t (R, T). After the completion, rewards and values are 0."""
    advantages = np.zeros_like(rewards)
    next_value = next_advantage = np.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        error = rewards[:, t] + discount * next_value - values[:, t]
        advantages[:, t] = next_advantage = error + discount * smoothing * next_advantage
        next_value = values[:, t]
    return advantages


def whiten(numbers: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 over the mask; 0 outside of it."""
    chosen = numbers[mask]
    if chosen.size < 2:
        return np.zeros_like(numbers)
    return np.where(mask, (numbers - chosen.mean()) / np.sqrt(chosen.var(ddof=1) + WHITENING), 0.0)


def value_loss(values: Tensor, old: Any, returns: Any) -> Tensor:
    """Half the squared error; that of the clipped value where it is larger. So V moves by VALUE_CLIP at most."""
    clipped = clip(values - old, -VALUE_CLIP, VALUE_CLIP) + old
    return 0.5 * maximum((values - returns) ** 2, (clipped - returns) ** 2)


class ActorCritic(GPT):
    """A GPT with a value head."""

    value_head: Linear

    def values(self, x: Tensor) -> Tensor:
        """V (R, T) of the vectors x (R, T, C) that `hidden` returns."""
        return self.value_head(x)[..., 0]


def add_value_head(model: GPT) -> GPT:
    """Make the model an ActorCritic, in place; its values are 0 at first."""
    become(model, ActorCritic, value_head=Linear(model.config.dim, 1, dtype=model.dtype, init=False))
    return model


class ProximalPolicy(PolicyGradient):
    """The clipped loss of the policy, and the loss of the value head. The model is an ActorCritic."""

    def learned_from(self, rows: PolicyBatch) -> PolicyBatch:
        """All: the value head learns from each."""
        return rows

    def token_losses(self, model: GPT, rows: PolicyBatch, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        assert isinstance(model, ActorCritic)
        x = model.hidden(rows.ids)  # (R, T, C)
        logprobs = logprobs_of_hidden(model, x, rows.targets, self.temperature)
        old, returns = (array.astype(x.dtype) for array in (rows.values, rows.returns))
        of_values = value_loss(model.values(x), old, returns)
        return logprobs, self.policy_losses(logprobs, rows, mask) + VALUE_WEIGHT * of_values
