"""From the logits of the next token to a token: temperature, filters that leave out unlikely tokens, and the draw.

The steps have the same order as in Hugging Face's transformers, so the same options mean the same in both:

    repetition penalty      Keskar et al. 2019 (CTRL, arXiv 1909.05858)
    temperature             0 means greedy: always the most likely token
    top-k                   Fan et al. 2018 (arXiv 1805.04833)
    top-p, nucleus          Holtzman et al. 2020 (arXiv 1904.09751)
    min-p                   Nguyen et al. 2024 (arXiv 2407.01082)

Each step is a function without side effects. The first three take logits (V,), top-p and min-p take probabilities (V,).
If a filter has to choose between equally likely tokens, it takes the one with the smaller id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    temperature: float = 0.8
    """Below 1, likely tokens become more likely; above 1, unlikely ones. 0: always the most likely token (greedy)."""
    top_k: int | None = None
    """Choose only among this many of the most likely tokens. none: among all."""
    top_p: float = 0.95
    """Leave out the least likely tokens, so that the others together keep at least this probability. 1: none."""
    min_p: float = 0.0
    """Leave out tokens with less than this fraction of the probability of the most likely token. 0: none."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that are in the text already become less likely. 1 changes nothing."""
    sampler: Literal["numpy", "llama2c"] = "numpy"
    """Whose random numbers are drawn: NumPy's, or those of run.c of llama2.c, which with the same temperature, top-p
    and seed then writes the same text. llama2c knows no other options.
    """

    def __post_init__(self) -> None:
        self._require("temperature", 0 <= self.temperature < math.inf, "at least 0")
        self._require("top_k", self.top_k is None or self.top_k >= 1, "at least 1, or None for all tokens")
        self._require("top_p", 0 < self.top_p <= 1, "above 0 and at most 1")
        self._require("min_p", 0 <= self.min_p <= 1, "at least 0 and at most 1")
        self._require("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0; 1 changes nothing")
        self._require("sampler", self.sampler in ("numpy", "llama2c"), "numpy or llama2c")
        if self.sampler == "llama2c" and (self.top_k, self.min_p, self.repetition_penalty) != (None, 0, 1):
            raise ValueError("the sampler llama2c has no top k, min p or repetition penalty; leave these options out")

    def _require(self, name: str, is_valid: bool, wanted: str) -> None:
        if not is_valid:
            raise ValueError(f"{name}={getattr(self, name)} is not possible; it must be {wanted}")


def sample(logits: np.ndarray, ids: Sequence[int], sampling: Sampling, rng: np.random.Generator) -> int:
    """Draw the id of the next token. `logits` (V,) are those of the next token, `ids` are those of the text so far."""
    return draw(distribution(logits, ids, sampling), rng)


def distribution(logits: np.ndarray, ids: Sequence[int], sampling: Sampling) -> np.ndarray:
    """The probabilities (V,), float64, of the next token. Raises ValueError for logits with NaN or infinity."""
    logits = penalize_repetition(np.asarray(logits, dtype=np.float64), ids, sampling.repetition_penalty)
    check_logits(logits)
    # Greedy. It is the limit of ever smaller temperatures, but dividing by 0 would not compute it.
    if sampling.temperature == 0:
        return one_hot(int(np.argmax(logits)), logits.size)
    # The order of the filters matters: each one sees only the tokens that the one before has left.
    logits = apply_temperature(logits, sampling.temperature)
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    return keep_min_p(keep_top_p(softmax(logits), sampling.top_p), sampling.min_p)


def check_logits(logits: np.ndarray) -> None:
    """Raise ValueError for logits from which no token can be drawn."""
    # If one logit is NaN, the maximum is NaN. A logit of -inf is allowed: such a token has probability 0.
    if not np.isfinite(logits.max()):
        raise ValueError(
            f"the largest logit of the model is {logits.max()}, so no token can be drawn; "
            f"its training has diverged (a smaller --lr may help), or its weights are damaged; try another checkpoint"
        )


def draw(probabilities: np.ndarray, rng: np.random.Generator) -> int:
    """A random index. Index i is drawn with the probability probabilities[i]."""
    # The probabilities divide the line from 0 to 1 into intervals, one for each token. A uniform random number from 0
    # to 1 falls into one of them.
    ends = np.cumsum(probabilities)
    ends /= ends[-1]  # rounding could leave the last end below 1, and a number after it would have no interval
    return int(np.searchsorted(ends, rng.random(), side="right"))


# --- on logits --------------------------------------------------------------------------------------------------------


def penalize_repetition(logits: np.ndarray, ids: Sequence[int], penalty: float) -> np.ndarray:
    """Make tokens that occur in `ids` less likely. It does not matter how often they occur."""
    if penalty == 1 or not len(ids):
        return logits
    logits, seen = logits.copy(), np.unique(ids)
    # Dividing a negative logit would make it larger, so it is multiplied.
    logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
    return logits


def apply_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """The logits divided by the temperature."""
    # Subtracting the largest logit changes no probability. Without it, a small temperature makes logits infinite.
    with np.errstate(over="ignore"):  # differences may still become -inf, which is right: a probability of 0
        return (logits - logits.max()) / temperature


def keep_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """-inf for all but the k largest logits."""
    # Exactly k remain. Hugging Face's transformers keeps all logits that are equal to the k-th.
    return np.where(mask_of_largest(logits, k), logits, -np.inf)


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
    """The nucleus: the smallest set of tokens whose probabilities add up to at least p. The others become 0."""
    if p == 1:
        return probabilities
    # Sorting the whole vocabulary is slow, and most tokens are very unlikely. So tokens below a limit are not sorted.
    # There are at most V of them, so together they have less than V * limit = (1 - p) / 2. The others together have
    # more than p, so the nucleus is among them. The half leaves room for rounding errors.
    limit = 0.5 * (1 - p) / probabilities.size
    descending = np.sort(probabilities[probabilities >= limit])[::-1]
    below_p = int(np.count_nonzero(np.cumsum(descending) < p))
    count = min(below_p + 1, len(descending))  # the token with which the sum reaches p belongs to the nucleus
    return keep_only(mask_of_largest(probabilities, count, descending[count - 1]), probabilities)


def keep_min_p(probabilities: np.ndarray, p: float) -> np.ndarray:
    """0 for tokens with less than p times the probability of the most likely token."""
    if p == 0:
        return probabilities
    return keep_only(probabilities >= p * probabilities.max(), probabilities)


def keep_only(mask: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """0 where `mask` (V,) is False. The others are scaled so that their sum is 1 again."""
    probabilities = np.where(mask, probabilities, 0.0)
    return probabilities / probabilities.sum()


def mask_of_largest(values: np.ndarray, n: int, smallest: float | None = None) -> np.ndarray:
    """A mask (V,), True at the n largest values. `smallest`: the smallest of these n, if it is known already."""
    if n >= values.size:
        return np.ones(values.size, dtype=bool)
    if smallest is None:
        smallest = np.partition(values, -n)[-n]  # faster than to sort all values
    mask = values > smallest
    # Several values may be equal to `smallest`, and perhaps not all of them fit into the n. The first ones are taken.
    missing = n - np.count_nonzero(mask)
    mask[np.flatnonzero(values == smallest)[:missing]] = True
    return mask
