"""What can be seen of reinforcement while it goes on. Not the loss: it is near 0 at every step (policy_losses.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm.tuning.reinforcement.advantages import deviation, mean
from llm.tuning.reinforcement.algorithms import Algorithm
from llm.tuning.reinforcement.objective import IGNORED, PolicyBatch
from llm.tuning.reinforcement.policy_losses import clipped_share, divergence
from llm.tuning.reinforcement.sampling import Completion


def measures_of_sample(
    rewards: np.ndarray, completions: Sequence[Completion], batch: PolicyBatch, *, with_reference: bool
) -> dict[str, float]:
    """Of a new sample, with rewards (P, G).

    reward, reward_std   over all completions
    same_reward          the share of the groups whose rewards are all equal: nothing can be learned from them
    length               the mean number of tokens, with the one that ends the text
    cut_off              the share of the completions that were cut off
    kl                   the mean divergence from the reference, a token (k3); only if there is a reference
    clipped              the share of the tokens that are clipped: none, since the ratio is 1
    """
    spread = deviation(rewards, axis=1)
    measures = {
        "reward": mean(rewards, axis=None).item(),
        "reward_std": deviation(rewards, axis=None).item(),
        "same_reward": float((spread == 0).mean()),
        "length": float(np.mean([len(each.ids) for each in completions])),
        "cut_off": float(np.mean([each.cut_off for each in completions])),
        "clipped": 0.0,
    }
    mask = batch.targets != IGNORED
    if with_reference and mask.any():
        measures["kl"] = float(divergence(batch.old, batch.reference, "k3")[mask].mean())
    return measures


def measures_of_update(now: np.ndarray, sample: PolicyBatch, algorithm: Algorithm) -> dict[str, float]:
    """Of another update with the same sample. `now`: the log-probabilities under the weights of now (R, T)."""
    a, mask = algorithm, sample.targets != IGNORED
    share = clipped_share(now, sample.old, sample.advantages, mask, ratio=a.ratio, low=a.low, high=a.high)
    return {"clipped": share}
