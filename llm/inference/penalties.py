"""Penalties, bias and banned words: how the text so far, and the wishes of the user, change the logits.

    logit bias              what is added to the logit of a token (OpenAI's logit_bias)
    repetition penalty      Keskar et al. 2019 (CTRL, arXiv 1909.05858)
    frequency penalty       for each time that a token was written (OpenAI)
    presence penalty        once for a token that was written, however often (OpenAI)
    banned words            words that are never written (NoBadWordsLogitsProcessor of transformers)

Which text is meant? The repetition penalty counts the prompt too, as in its paper and in transformers. The frequency
and presence penalties count only what the model has written: OpenAI defines them by "how often that token was sampled",
and vLLM does the same. So a long prompt, with its many common words, does not make the answer odd.

Each is a function without side effects on one row of logits (V,), in float64. With the value that changes nothing, the
row itself is returned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def add_bias(logits: np.ndarray, bias: Sequence[tuple[int, float]]) -> np.ndarray:
    """Add to the logit of each token in `bias`, pairs of an id and a number. No id may occur twice."""
    if not bias:
        return logits
    logits, (ids, numbers) = logits.copy(), zip(*bias)
    logits[list(ids)] += numbers
    return logits


def penalize_repetition(logits: np.ndarray, ids: Sequence[int], penalty: float) -> np.ndarray:
    """Make tokens that occur in `ids` less likely. It does not matter how often they occur."""
    if penalty == 1 or not len(ids):
        return logits
    logits, seen = logits.copy(), np.unique(ids)
    # Dividing a negative logit would make it larger, so it is multiplied.
    logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
    return logits


def penalize_frequency(logits: np.ndarray, written: Sequence[int], penalty: float) -> np.ndarray:
    """Subtract the penalty as often as a token occurs in `written`, the ids that the model has written."""
    if penalty == 0 or not len(written):
        return logits
    logits, (seen, counts) = logits.copy(), np.unique(written, return_counts=True)
    logits[seen] -= penalty * counts
    return logits


def penalize_presence(logits: np.ndarray, written: Sequence[int], penalty: float) -> np.ndarray:
    """Subtract the penalty once from each token that occurs in `written`, the ids that the model has written."""
    if penalty == 0 or not len(written):
        return logits
    logits = logits.copy()
    logits[np.unique(written)] -= penalty
    return logits


def ban_words(logits: np.ndarray, ids: Sequence[int], words: Sequence[Sequence[int]]) -> np.ndarray:
    """-inf for each token that would complete one of the words. A word is a sequence of ids."""
    # Only the last token of a word is forbidden, and only where the text ends with all the others: each of its tokens
    # is also part of other words. A word of one token is forbidden everywhere.
    banned = [last for *first, last in words if not first or list(ids[-len(first) :]) == first]
    if not banned:
        return logits
    logits = logits.copy()
    logits[banned] = -np.inf
    return logits
