"""Filters: each leaves out tokens that shall not be drawn.

    top-k             Fan et al. 2018 (arXiv 1805.04833)
    top-p, nucleus    Holtzman et al. 2020 (arXiv 1904.09751)
    min-p             Nguyen et al. 2024 (arXiv 2407.01082)
    typical           Meister et al. 2022 (arXiv 2202.00666)

Each is a function without side effects on one row (V,), in float64. Top-k takes logits, the others take probabilities.
If a filter has to choose between equally good tokens, it takes the one with the smaller id. transformers keeps all of
them in top-k and typical; where there are no ties, the filters are the same.
"""

from __future__ import annotations

import numpy as np


def keep_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """-inf for all but the k largest logits."""
    return np.where(mask_of_largest(logits, k), logits, -np.inf)


def keep_top_p(probabilities: np.ndarray, p: float) -> np.ndarray:
    """The nucleus: the smallest set of tokens whose probabilities add up to at least p. The others become 0."""
    if p == 1:
        return probabilities
    # Sorting the whole vocabulary is slow, and most tokens are very unlikely. So tokens below a limit are not sorted.
    # There are at most V of them, so together they have less than V * limit = (1 - p) / 2. The others together have
    # more than p, so the nucleus is among them. The half leaves room for rounding errors.
    limit = 0.5 * (1 - p) / probabilities.size
    descending = np.sort(probabilities[probabilities >= limit])[::-1]
    count = count_to_reach(p, descending)
    return keep_only(mask_of_largest(probabilities, count, descending[count - 1]), probabilities)


def keep_min_p(probabilities: np.ndarray, p: float) -> np.ndarray:
    """0 for tokens with less than p times the probability of the most likely token."""
    if p == 0:
        return probabilities
    return keep_only(probabilities >= p * probabilities.max(), probabilities)


def keep_typical(probabilities: np.ndarray, p: float) -> np.ndarray:
    """The tokens that surprise as much as is usual here: the fewest that have at least p together. The others become 0.

    The surprise of a token is -log(its probability). The usual surprise is its mean, the entropy of the distribution.
    This may leave out the most likely token, where the model is unsure.
    """
    if p == 1:
        return probabilities
    possible = np.flatnonzero(probabilities)
    surprise = -np.log(probabilities[possible])
    entropy = (probabilities[possible] * surprise).sum()
    nearest_first = possible[np.argsort(np.abs(surprise - entropy), kind="stable")]  # stable: the smaller id first
    mask = np.zeros(probabilities.size, dtype=bool)
    mask[nearest_first[: count_to_reach(p, probabilities[nearest_first])]] = True
    return keep_only(mask, probabilities)


# --- what they are made of --------------------------------------------------------------------------------------------


def count_to_reach(p: float, probabilities: np.ndarray) -> int:
    """How many of the probabilities, from the first on, add up to at least p. All of them if they never do."""
    below_p = int(np.count_nonzero(np.cumsum(probabilities) < p))
    return min(below_p + 1, len(probabilities))  # the token with which the sum reaches p is kept


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
