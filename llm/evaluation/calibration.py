"""Whether the probabilities of a model can be believed.

A model is calibrated if of all texts for which it says 80%, it is right about 80%. The expected calibration error
(Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599) puts texts into bins by the probability of what was chosen, and
is the mean difference between this probability and the share that was right, weighted by the sizes of bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True)
class Bin:
    """The texts whose chosen class has a probability above `low`, up to `high`."""

    low: float
    high: float
    texts: int
    confidence: float  # mean probability of the chosen class
    accuracy: float


def reliability(confidences: np.ndarray, right: np.ndarray) -> list[Bin]:
    """The bins with texts in them, each with the mean of what was said and the share that was right."""
    numbers = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    found = []
    for number in np.unique(numbers).tolist():
        inside = numbers == number
        means = float(confidences[inside].mean()), float(right[inside].mean())
        found.append(Bin(number / BINS, (number + 1) / BINS, int(inside.sum()), *means))
    return found


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error."""
    return sum(b.texts * abs(b.confidence - b.accuracy) for b in bins) / sum(b.texts for b in bins)


def reliability_table(bins: Sequence[Bin], counted: str) -> list[str]:
    """The bins as lines of text; `counted` is what the bins hold, such as texts."""
    lines = [f"  probability {counted:>9}  said   right"]
    return lines + [
        f"  {b.low:4.0%} to {b.high:4.0%} {b.texts:9,}  {b.confidence:6.1%} {b.accuracy:6.1%}" for b in bins
    ]
