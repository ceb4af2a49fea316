"""Log-probabilities: what the model itself thought of a token, before temperature, filters and penalties.

They are shown beside a text, and whole texts are compared by their sums. The softmax of sampling.py would lose them:
the probability of an unlikely token may be 0 in float64, but its logarithm is a plain number.
"""

from __future__ import annotations

import numpy as np

from llm.inference.filters import mask_of_largest
from llm.inference.sampling import check_logits


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """The logarithms (V,), float64, of the softmax of logits (V,). Raises ValueError for logits with NaN or inf."""
    check_logits(logits)
    # log(exp(x) / sum(exp(x))) = x - log(sum(exp(x))). With the largest x subtracted, exp() cannot overflow.
    logits = np.asarray(logits, dtype=np.float64)
    with np.errstate(over="ignore"):  # differences may become -inf, which is right: a probability of 0
        logits = logits - logits.max()
    return logits - np.log(np.exp(logits).sum())


def most_likely(logprobs: np.ndarray, n: int) -> list[tuple[int, float]]:
    """The n most likely tokens as pairs (id, log-probability), the likeliest first; of equal ones, the smaller id.

    The numbers are those in `logprobs` (V,) to the last bit. So a token is the most likely one exactly if its number is
    equal to the first of these: evaluation programs compare them in this way.
    """
    if n <= 0:
        return []
    ids = np.flatnonzero(mask_of_largest(logprobs, n))
    ids = ids[np.argsort(-logprobs[ids], kind="stable")]
    return [(int(i), float(logprobs[i])) for i in ids]
