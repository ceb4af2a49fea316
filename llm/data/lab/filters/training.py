"""Logistic regression, trained by minigrad: the weights of n-grams from texts to keep and texts to drop.

    z = b + sum over the n-grams n of the text of w[n] / sqrt(F)         F: how many different n-grams it has
    p = 1 / (1 + exp(-z))                                                the probability that the text is good

w is a table with a number for each n-gram. A text has a few hundred of its 262,144 numbers, so they are looked up, as
an embedding is, and not multiplied with a matrix that is nearly all zeros.

B: texts of a batch; N: their n-grams together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minigrad import Tensor
from minigrad.nn import Module, Parameter
from minigrad.ops import scatter, softplus
from minigrad.optim import SGD, warmup_linear


@dataclass(frozen=True)
class Fit:
    """How the weights are trained."""

    passes: int = 10  # over the texts
    least_steps: int = 200  # more passes over a few texts
    batch_size: int = 256
    # The loss curves by at most 1/2 in any direction (1/4 times the square of the length of (features, 1), which is 2),
    # so that steps with momentum 0.9 are stable up to lr = 2 (1 + 0.9) / (1/2) = 7.6.
    lr: float = 5.0
    seed: int = 0


class LogisticRegression(Module):
    """The weights w and the bias b."""

    def __init__(self, size: int):
        super().__init__()
        self.weight = Parameter(np.zeros(size, np.float32))
        self.bias = Parameter(np.zeros(1, np.float32))

    def forward(self, texts: Sequence[np.ndarray]) -> Tensor:
        """The n-grams of B texts -> z, (B,)."""
        counts = np.array([len(ids) for ids in texts])  # (B,)
        rows = np.repeat(np.arange(len(texts)), counts)  # (N,) which text each n-gram is from
        weights = self.weight[np.concatenate(texts)]  # (N,)
        sums = scatter(weights, rows, len(texts))  # (B,)
        return sums * (1 / np.sqrt(counts)).astype(np.float32) + self.bias


def loss_of(z: Tensor, is_good: np.ndarray, weights: np.ndarray) -> Tensor:
    """The mean of -log p of good texts and -log(1 - p) of bad ones; `weights` (B,) says how much each text counts."""
    # -log p = log(1 + exp(-z)) = softplus(z) - z, and -log(1 - p) = softplus(z)
    return ((softplus(z) - z * is_good) * weights).mean()


def fit(
    texts: Sequence[np.ndarray],
    is_good: np.ndarray,
    size: int,
    settings: Fit = Fit(),
    progress: Callable[[int, int], object] = lambda step, steps: None,
) -> LogisticRegression:
    """Train on texts given as n-grams. `is_good`: (texts,) bool. `progress(step, steps)` is called after each step."""
    model = LogisticRegression(size)
    # Not AdamW: it gives the weight of a rare n-gram steps as large as that of a frequent one, and generalizes worse.
    optimizer = SGD(model.named_parameters(), lr=settings.lr, momentum=0.9)
    # Good and bad texts together count alike, whatever their number: p = 0.5 means that either is as likely.
    share = is_good.mean()
    counted = np.where(is_good, 0.5 / share, 0.5 / (1 - share)).astype(np.float32)
    labels, batches = is_good.astype(np.float32), batches_of(len(texts), settings)
    for step, chosen in enumerate(batches):
        optimizer.zero_grad()
        loss_of(model([texts[i] for i in chosen]), labels[chosen], counted[chosen]).backward()
        optimizer.step(lr=warmup_linear(step, settings.lr, len(batches)))
        progress(step + 1, len(batches))
    return model


def batches_of(count: int, settings: Fit) -> list[np.ndarray]:
    """The numbers of the texts of each batch. Each pass over them is in a new order."""
    rng = np.random.default_rng(settings.seed)
    steps_of_pass = -(-count // settings.batch_size)
    passes = max(settings.passes, -(-settings.least_steps // steps_of_pass))
    return [part for _ in range(passes) for part in np.array_split(rng.permutation(count), steps_of_pass)]
