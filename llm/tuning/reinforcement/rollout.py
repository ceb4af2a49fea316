"""From completions and their rewards to the arrays of a batch (objective.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llm.inference.completions import Completion
from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from llm.tuning.chat.packing import IGNORED
from llm.tuning.preferences.completions import ids_and_targets, joined
from llm.tuning.reinforcement.advantages import advantages_of
from llm.tuning.reinforcement.algorithms import Algorithm
from llm.tuning.reinforcement.objective import PolicyBatch, logprobs_of_hidden, token_logprobs
from llm.tuning.reinforcement.policy_losses import divergence
from llm.tuning.reinforcement.ppo import ActorCritic, generalized_advantages, token_rewards, whiten
from minigrad import no_grad
from minigrad.backend import to_device

# Takes ids and targets (R, T), returns the log-probabilities of the targets under the reference (R, T).
Reference = Callable[[np.ndarray, np.ndarray], np.ndarray]

ROWS_AT_ONCE = 16  # of a forward pass without gradients


@dataclass(frozen=True)
class Rollout:
    """The tokens of a sample, and what was known of them when it was made, each (R, T); 0 where it is not needed."""

    ids: np.ndarray
    targets: np.ndarray
    old: np.ndarray  # the log-probabilities of the targets
    values: np.ndarray  # what the value head predicted
    reference: np.ndarray  # the log-probabilities of the targets under the reference


def rows_of(completions: Sequence[Completion], *, mask_truncated: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """ids and targets (R, T). `mask_truncated`: a completion that was cut off has no targets."""
    ids, targets = ids_and_targets([joined(each.prompt_ids, each.ids) for each in completions])
    if mask_truncated:
        targets[[each.cut_off for each in completions]] = IGNORED
    return ids, targets


def with_advantages(rollout: Rollout, rewards: np.ndarray, algorithm: Algorithm, running: float = 0.0) -> PolicyBatch:
    """The batch of some completions with their rewards (P, G): P G rows, group after group."""
    r, penalties = rollout, penalties_of(rollout, algorithm)
    if algorithm.baseline == "value":
        return with_token_advantages(r, rewards.reshape(-1), penalties)
    penalized = rewards - penalties.sum(axis=1).reshape(rewards.shape)  # (P, G)
    of_rows = advantages_of(penalized, algorithm.baseline, algorithm.scale, running).reshape(-1, 1)  # (R, 1)
    advantages = np.where(r.targets != IGNORED, of_rows, 0.0)  # (R, T)
    return PolicyBatch(r.ids, r.targets, advantages, r.old, r.reference, r.values, returns=np.zeros(r.ids.shape))


def with_token_advantages(rollout: Rollout, scores: np.ndarray, penalties: np.ndarray) -> PolicyBatch:
    """The same for PPO, where each token has an advantage of its own. `scores`: the rewards (R,)."""
    r = rollout
    targets = np.where(np.isnan(scores)[:, None], IGNORED, r.targets)  # nothing is known of these completions
    mask = targets != IGNORED
    values = np.where(mask, r.values, 0.0)
    by_token = generalized_advantages(token_rewards(scores, penalties, mask), values)
    return PolicyBatch(r.ids, targets, whiten(by_token, mask), r.old, r.reference, values, returns=by_token + values)


def penalties_of(rollout: Rollout, algorithm: Algorithm) -> np.ndarray:
    """What the divergence from the reference takes away from the reward at each token, (R, T)."""
    if not algorithm.beta or algorithm.kl_in == "loss":
        return np.zeros(rollout.ids.shape)
    divergences = divergence(rollout.old, rollout.reference, algorithm.kl)
    return algorithm.beta * np.where(rollout.targets != IGNORED, divergences, 0.0)


def roll_out(
    model: GPT,
    completions: Sequence[Completion],
    temperature: float,
    reference: Reference | None = None,
    *,
    mask_truncated: bool = False,
    needs_old: bool = True,
) -> Rollout:
    """The rows of some completions. `needs_old`: whether the model is asked what it thinks of them."""
    ids, targets = rows_of(completions, mask_truncated=mask_truncated)
    zeros = np.zeros(ids.shape)
    old, values = logprobs_and_values(model, ids, targets, temperature) if needs_old else (zeros, zeros)
    return Rollout(ids, targets, old, values, zeros if reference is None else reference(ids, targets))


def logprobs_and_values(
    model: GPT, ids: np.ndarray, targets: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """The log-probabilities of the targets and the values (R, T), without gradients and dropout."""
    logprobs, values = np.zeros((2, *ids.shape))
    with no_grad(), no_dropout(model), np.errstate(all="ignore"):
        for first in range(0, len(ids), ROWS_AT_ONCE):
            rows = slice(first, first + ROWS_AT_ONCE)
            own_ids, own_targets = (to_device(array[rows], model.device) for array in (ids, targets))
            if isinstance(model, ActorCritic):
                x = model.hidden(own_ids)  # (r, T, C)
                values[rows] = to_device(model.values(x).data, "cpu")
                found = logprobs_of_hidden(model, x, own_targets, temperature)
            else:
                found = token_logprobs(model, own_ids, own_targets, temperature)
            logprobs[rows] = to_device(found.data, "cpu")
    return logprobs, values
