"""How well scores tell good texts from bad ones, whatever the threshold: the ROC curve, the area below it, a threshold.

A text is dropped if its score is below the threshold. A high threshold drops bad texts, and good ones too: the ROC
curve (receiver operating characteristic) shows for each threshold which share of the bad texts it drops (y), and which
share of the good ones (x). The area below it, AUC, is the probability that a good text has a higher score than a bad
one, if both are drawn at random; equal scores count half. 1: a threshold divides them; 0.5: the scores tell nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """For K thresholds, ascending: the shares of texts with a lower score. From (0, 0) to (1, 1)."""

    thresholds: np.ndarray  # (K,) all scores that occur, and infinity
    good_dropped: np.ndarray  # (K,)
    bad_dropped: np.ndarray  # (K,)

    @property
    def area(self) -> float:
        """AUC."""
        return float(np.trapezoid(self.bad_dropped, self.good_dropped))


def curve_of(good: np.ndarray, bad: np.ndarray) -> Curve:
    """From the scores of the good texts and of the bad ones. Neither may be empty."""
    thresholds = np.append(np.unique(np.concatenate([good, bad])), np.inf)
    return Curve(thresholds, *(np.searchsorted(np.sort(scores), thresholds) / len(scores) for scores in (good, bad)))


def area_reference(good: np.ndarray, bad: np.ndarray) -> float:
    """The definition of AUC, from all pairs."""
    difference = good[:, None] - bad
    return float((np.sign(difference) + 1).mean() / 2)


def choose_threshold(curve: Curve, lose: float) -> float:
    """Of the thresholds that cost at most the share `lose` of the good texts, the one that drops most of the bad ones.

    Of several, the one that costs the fewest good texts.
    """
    allowed = np.searchsorted(curve.good_dropped, lose, side="right") - 1  # the highest of them drops the most
    first = int(np.searchsorted(curve.bad_dropped, curve.bad_dropped[allowed]))
    if first == 0:
        return float(curve.thresholds[0])
    # Every number between two scores that follow each other divides the texts alike: the middle is as far from both.
    below, above = curve.thresholds[first - 1], curve.thresholds[first]
    middle = (below + min(above, 1.0)) / 2
    return float(middle if below < middle else above)
