"""From the logits of the next token to a token: temperature, filters that leave out unlikely tokens, and the draw.

The steps have the order of the Hugging Face library, so the same options mean the same in both:

    repetition penalty      Keskar et al. 2019 (CTRL, arXiv 1909.05858)
    temperature             0 means greedy: always the likeliest token
    top-k                   Fan et al. 2018 (arXiv 1805.04833)
    top-p, nucleus          Holtzman et al. 2020 (arXiv 1904.09751)
    min-p                   Nguyen et al. 2024 (arXiv 2407.01082)

Each is a pure function of a row (V,): the first three of logits, top-p and min-p of probabilities. Of equally likely
tokens the one with the smaller id comes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    temperature: float = 0.8
    """Below 1, likely tokens become likelier; above 1, unlikely ones. 0 always takes the likeliest token (greedy)."""
    top_k: int | None = None
    """Choose among this many of the likeliest tokens. Default: among all."""
    top_p: float = 0.95
    """Choose among the fewest likeliest tokens that together have at least this probability. 1: among all."""
    min_p: float = 0.0
    """Choose among the tokens at least this many times as likely as the likeliest. 0: among all."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that are in the text already become less likely. 1 changes nothing."""

    def __post_init__(self) -> None:
        """Raises ValueError for values that make no sense."""
        self._require("temperature", 0 <= self.temperature < math.inf, "at least 0")
        self._require("top_k", self.top_k is None or self.top_k >= 1, "at least 1, or None for all tokens")
        self._require("top_p", 0 < self.top_p <= 1, "above 0 and at most 1")
        self._require("min_p", 0 <= self.min_p <= 1, "at least 0 and at most 1")
        self._require("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0; 1 changes nothing")

    def _require(self, name: str, good: bool, wanted: str) -> None:
        if not good:
            raise ValueError(f"{name.replace('_', ' ')} must be {wanted}, got {getattr(self, name)}")


def sample(logits: np.ndarray, context: Sequence[int], sampling: Sampling, rng: np.random.Generator) -> int:
    """Draw the id of the next token from its logits (V,); `context` has the ids of the text so far."""
    return draw(distribution(logits, context, sampling), rng)


def distribution(logits: np.ndarray, context: Sequence[int], sampling: Sampling) -> np.ndarray:
    """The probabilities (V,), float64, of the next token. Raises ValueError for logits with NaN or infinity."""
    logits = penalize_repetition(np.asarray(logits, dtype=np.float64), context, sampling.repetition_penalty)
    # If any logit is NaN, so is the maximum. -inf is allowed: such a token is never drawn.
    if not np.isfinite(logits.max()):
        raise ValueError(
            f"the largest logit of the model is {logits.max()}, so no token can be drawn; "
            f"its weights must be damaged, try another checkpoint"
        )
    if sampling.temperature == 0:
        return one_hot(int(np.argmax(logits)), logits.size)
    # From here on the order matters: each filter sees what the one before has left.
    logits = apply_temperature(logits, sampling.temperature)
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    return keep_min_p(keep_top_p(softmax(logits), sampling.top_p), sampling.min_p)


def draw(probabilities: np.ndarray, rng: np.random.Generator) -> int:
    """An index, each with its probability."""
    # The probabilities divide the line from 0 to 1 into intervals. A uniform number falls into one of them.
    ends = np.cumsum(probabilities)
    ends /= ends[-1]  # then the last end is exactly 1, and the number, below 1, always falls before it
    return int(np.searchsorted(ends, rng.random(), side="right"))


# --- on logits --------------------------------------------------------------------------------------------------------


def penalize_repetition(logits: np.ndarray, context: Sequence[int], penalty: float) -> np.ndarray:
    """Divide the positive logits of tokens in the context by `penalty`, and multiply the negative ones by it: once,
    however often a token occurs.
    """
    if penalty == 1 or not len(context):
        return logits
    logits, seen = logits.copy(), np.unique(context)
    logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
    return logits


def apply_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """The logits divided by the temperature."""
    # Subtracting the largest changes no probability. Without it, a small temperature would make it infinite.
    with np.errstate(over="ignore"):  # the others may become -inf, a probability of 0
        return (logits - logits.max()) / temperature


def keep_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """-inf for all but the k largest. Exactly k stay; the Hugging Face library keeps all that equal the k-th."""
    return np.where(top_mask(logits, k), logits, -np.inf)


def softmax(logits: np.ndarray) -> np.ndarray:
    # Subtracting the largest logit changes no probability, and exp() cannot overflow.
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def one_hot(index: int, size: int) -> np.ndarray:
    """Probability 1 for one token."""
    probabilities = np.zeros(size)
    probabilities[index] = 1.0
    return probabilities


# --- on probabilities -------------------------------------------------------------------------------------------------


def keep_top_p(probabilities: np.ndarray, p: float) -> np.ndarray:
    """The nucleus: the fewest likeliest tokens whose probabilities add up to at least p. The others become 0."""
    if p == 1:
        return probabilities
    # Sorting is slow. Tokens below this limit together have less than 1 - p, so the nucleus needs none of them.
    limit = 0.5 * (1 - p) / probabilities.size
    descending = np.sort(probabilities[probabilities >= limit])[::-1]
    below_p = int(np.count_nonzero(np.cumsum(descending) < p))
    count = min(below_p + 1, len(descending))  # the token that reaches p belongs to the nucleus
    return keep_only(top_mask_down_to(probabilities, descending[count - 1], count), probabilities)


def keep_min_p(probabilities: np.ndarray, p: float) -> np.ndarray:
    """0 for tokens with less than p times the probability of the likeliest."""
    return probabilities if p == 0 else keep_only(probabilities >= p * probabilities.max(), probabilities)


def keep_only(mask: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """0 where `mask` (V,) is False; the others grow in proportion, so that their sum is 1."""
    probabilities = np.where(mask, probabilities, 0.0)
    return probabilities / probabilities.sum()


def top_mask(values: np.ndarray, n: int) -> np.ndarray:
    """A mask (V,) of the n largest values; of equal values, the first ones."""
    if n >= values.size:
        return np.ones(values.size, dtype=bool)
    return top_mask_down_to(values, np.partition(values, -n)[-n], n)  # partition is faster than a full sort


def top_mask_down_to(values: np.ndarray, smallest: float, n: int) -> np.ndarray:
    """`top_mask` when the smallest of the n largest values is known."""
    mask = values > smallest
    # Of those that equal the smallest, as many as are missing: ties would make it more than n.
    mask[np.flatnonzero(values == smallest)[: n - np.count_nonzero(mask)]] = True
    return mask
