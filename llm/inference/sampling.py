"""From the logits of the next token to a token: temperature, filters of the unlikely, and the draw.

Steps, in the order of the Hugging Face library, so that the same options mean the same there and here:

    repetition penalty      Keskar et al. 2019 (CTRL, arXiv 1909.05858)
    temperature             0 means greedy: the likeliest token, always
    top-k                   Fan et al. 2018 (arXiv 1805.04833)
    top-p, nucleus          Holtzman et al. 2020 (arXiv 1904.09751)
    min-p                   Nguyen et al. 2024 (arXiv 2407.01082)

All are pure functions of a row (V,): the first ones of logits, top-p and min-p of probabilities. Among equals the lower
id comes first.
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
    """Below 1 the likely becomes likelier, above 1 the unlikely; 0 always takes the likeliest token (greedy)."""
    top_k: int | None = None
    """Choose among this many of the likeliest tokens. Default: among all."""
    top_p: float = 0.95
    """Choose among the likeliest tokens that together have at least this probability; 1: among all."""
    min_p: float = 0.0
    """Choose among tokens at least this many times as likely as the likeliest; 0: among all."""
    repetition_penalty: float = 1.0
    """Above 1: tokens that are in the text already become less likely. 1 changes nothing."""

    def __post_init__(self) -> None:
        """Raises ValueError, in one sentence, for values that make no sense."""
        self._require("temperature", 0 <= self.temperature < math.inf, "at least 0")
        self._require("top_k", self.top_k is None or self.top_k >= 1, "at least 1, or None for all tokens")
        self._require("top_p", 0 < self.top_p <= 1, "above 0 and at most 1")
        self._require("min_p", 0 <= self.min_p <= 1, "at least 0 and at most 1")
        self._require("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0; 1 changes nothing")

    def _require(self, name: str, good: bool, wanted: str) -> None:
        if not good:
            raise ValueError(f"{name.replace('_', ' ')} must be {wanted}, got {getattr(self, name)}")


def sample(logits: np.ndarray, context: Sequence[int], sampling: Sampling, rng: np.random.Generator) -> int:
    """Draw the id of the next token from its logits (V,); `context`: the ids of the text so far."""
    return draw(distribution(logits, context, sampling), rng)


def distribution(logits: np.ndarray, context: Sequence[int], sampling: Sampling) -> np.ndarray:
    """The probabilities (V,), float64, that the next token is drawn with. Raises ValueError for logits with NaN or
    infinity.
    """
    logits = penalize_repetition(np.asarray(logits, dtype=np.float64), context, sampling.repetition_penalty)
    if not np.isfinite(logits.max()):  # the maximum is NaN if any is; -inf is all right, for a token never to be drawn
        raise ValueError(
            f"the largest logit of the model is {logits.max()}, so no token can be drawn; "
            f"its weights must be damaged, try another checkpoint"
        )
    if sampling.temperature == 0:
        return one_hot(int(np.argmax(logits)), logits.size)
    logits = apply_temperature(logits, sampling.temperature)
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    return keep_min_p(keep_top_p(softmax(logits), sampling.top_p), sampling.min_p)


def draw(probabilities: np.ndarray, rng: np.random.Generator) -> int:
    """An index, each drawn with its probability: where a uniform number falls on the line from 0 to 1 that they divide
    among them.
    """
    ends = np.cumsum(probabilities)
    ends /= ends[-1]  # exactly 1 at the end, so that the number, below 1, always falls before it
    return int(np.searchsorted(ends, rng.random(), side="right"))


# --- on logits --------------------------------------------------------------------------------------------------------


def penalize_repetition(logits: np.ndarray, context: Sequence[int], penalty: float) -> np.ndarray:
    """For tokens in the context: positive logits are divided by `penalty`, negative ones multiplied; once, however
    often they occur.
    """
    if penalty == 1 or not len(context):
        return logits
    logits, seen = logits.copy(), np.unique(context)
    logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
    return logits


def apply_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Logits over temperature; the largest is moved to 0 first, which changes no probability, so that nothing overflows
    upwards.
    """
    with np.errstate(over="ignore"):
        return (logits - logits.max()) / temperature


def keep_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """-inf for all but the k largest. Exactly k stay, where the Hugging Face library keeps all that equal the k-th."""
    return np.where(largest(logits, k), logits, -np.inf)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def one_hot(index: int, size: int) -> np.ndarray:
    """Probability 1 for one token."""
    probabilities = np.zeros(size)
    probabilities[index] = 1.0
    return probabilities


# --- on probabilities -------------------------------------------------------------------------------------------------


def keep_top_p(probabilities: np.ndarray, p: float) -> np.ndarray:
    """The nucleus: the fewest tokens, likeliest first, whose probabilities add up to at least p; the others become
    0.
    """
    if p == 1:
        return probabilities
    unlikely = (
        0.5 * (1 - p) / probabilities.size
    )  # tokens below have together less than 1 - p: the nucleus needs none of them
    falling = np.sort(probabilities[probabilities >= unlikely])[::-1]
    short = int(np.count_nonzero(np.cumsum(falling) < p))
    count = min(short + 1, len(falling))  # the token that reaches p belongs to the nucleus
    return keep(probabilities, down_to(probabilities, falling[count - 1], count))


def keep_min_p(probabilities: np.ndarray, p: float) -> np.ndarray:
    """0 for tokens with less than p times the probability of the likeliest."""
    return probabilities if p == 0 else keep(probabilities, probabilities >= p * probabilities.max())


def keep(probabilities: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Share out the probability of the others among the `kept` (V,), booleans."""
    probabilities = np.where(kept, probabilities, 0.0)
    return probabilities / probabilities.sum()


def largest(values: np.ndarray, n: int) -> np.ndarray:
    """Which of the values (V,) are the n largest, as booleans; of equals, those that come first. Without sorting them
    all.
    """
    if n >= values.size:
        return np.ones(values.size, dtype=bool)
    return down_to(values, np.partition(values, -n)[-n], n)


def down_to(values: np.ndarray, smallest: float, n: int) -> np.ndarray:
    """Which of the values (V,) are the n largest, if `smallest` is the smallest of those."""
    kept = values > smallest
    kept[np.flatnonzero(values == smallest)[: n - np.count_nonzero(kept)]] = True
    return kept
