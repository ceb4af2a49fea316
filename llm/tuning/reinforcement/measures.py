"""What can be seen of reinforcement while it goes on. Not the loss: it is near 0 at every step (policy_losses.py).

    reward        of the completions of a step, the mean
    reward_std    the standard deviation within a group, the mean: 0 if all rewards are equal, and nothing is learned
    length        tokens of a completion, with the one that ends it
    cut_off       the share of the completions that were cut off
    surprise      -log p of a sampled token, an estimate of the entropy: near 0 if the policy writes always the same
    clipped       the share of the tokens that are clipped: 0 at the first update with a sample, when all ratios are 1
    kl            the divergence from the reference, a token, if there is a reference (k3)

An objective reports a metric as a sum and a count, so that workers with different rows can be put together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm.tuning.reinforcement.advantages import deviation
from llm.tuning.reinforcement.algorithms import Algorithm
from llm.tuning.reinforcement.policy_losses import divergence, is_clipped
from llm.tuning.reinforcement.sampling import Completion
from minigrad.tensor import Tensor

OF_COMPLETIONS = ("reward", "reward_std", "length", "cut_off")
Metrics = dict[str, tuple[float, float]]  # name -> sum and count


def measures_of(rewards: np.ndarray, completions: Sequence[Completion]) -> np.ndarray:
    """(R, 4): OF_COMPLETIONS for each completion. `rewards`: (P, G); a missing one is NaN."""
    spread = np.broadcast_to(deviation(rewards, axis=1), rewards.shape)
    lengths = [len(each.ids) for each in completions]
    cut_off = [each.cut_off for each in completions]
    return np.stack([rewards.reshape(-1), spread.reshape(-1), lengths, cut_off], axis=1)


def metrics_of(
    measures: np.ndarray,
    logprobs: Tensor,
    old: np.ndarray | None,
    reference: np.ndarray,
    advantages: np.ndarray,
    mask: np.ndarray,
    algorithm: Algorithm,
) -> Metrics:
    """Of some rows of a batch. `logprobs` (R, T): under the weights of now; `old` is None if they are the same."""
    now, tokens = logprobs.data, float(mask.sum())
    columns = zip(OF_COMPLETIONS, measures.T, strict=True)
    metrics = {name: (float(np.nansum(column)), float((~np.isnan(column)).sum())) for name, column in columns}
    metrics["surprise"] = (float(-now[mask].sum()), tokens)
    clipped = 0.0 if old is None else float((is_clipped(now, old, advantages, mask, algorithm) & mask).sum())
    metrics["clipped"] = (clipped, tokens)
    if algorithm.beta:
        metrics["kl"] = (float(divergence(now, reference, "k3")[mask].sum()), tokens)
    return metrics
