"""What can be seen of reinforcement while it goes on. Not the loss: it is near 0 at every step (policy_losses.py).

    reward        of the completions of a step, the mean
    reward_std    the standard deviation within a group, the mean: 0 if all rewards are equal, and nothing is learned
    length        tokens of a completion, with the one that ends it
    cut_off       the share of the completions that were cut off
    surprise      -log p of a sampled token, an estimate of the entropy: near 0 if the policy writes always the same
    clipped       the share of the tokens that are clipped: 0 at the first update with a sample, when all ratios are 1
    kl            the divergence from the reference, a token, if there is a reference (k3)

The first four belong to a sample; the others are computed with the loss, from the weights of the update, and of the
rows that have one (`learned_from` in objective.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm.inference.completions import Completion
from llm.parallel.metrics import Metrics
from llm.tuning.reinforcement.advantages import deviation, mean
from llm.tuning.reinforcement.algorithms import Algorithm
from llm.tuning.reinforcement.policy_losses import divergence, is_clipped
from minigrad.tensor import Tensor

MEASURES = ("reward", "reward_std", "length", "cut_off")


def measures_of(rewards: np.ndarray, completions: Sequence[Completion]) -> dict[str, float]:
    """The measures of a sample. `rewards`: (P, G); a missing one is NaN."""
    lengths, cut_off = zip(*[(len(each.ids), each.cut_off) for each in completions], strict=True)
    values = mean(rewards, axis=None).item(), deviation(rewards, axis=1).mean(), np.mean(lengths), np.mean(cut_off)
    return dict(zip(MEASURES, map(float, values), strict=True))


def metrics_of(
    logprobs: Tensor,
    old: np.ndarray | None,
    reference: np.ndarray,
    advantages: np.ndarray,
    mask: np.ndarray,
    algorithm: Algorithm,
) -> Metrics:
    """Sums and counts of some rows of a batch. `logprobs` (R, T): under the weights of now; `old` is None if they are
    the same.
    """
    now, tokens = logprobs.data, float(mask.sum())
    clipped = 0.0 if old is None else float((is_clipped(now, old, advantages, mask, algorithm) & mask).sum())
    metrics = {"surprise": (float(-now[mask].sum()), tokens), "clipped": (clipped, tokens)}
    if algorithm.beta:
        metrics["kl"] = (float(divergence(now, reference, "k3")[mask].sum()), tokens)
    return metrics
