"""How good a classifier is: accuracy, which classes it confuses, and whether its probabilities can be believed.

A classifier is calibrated if of all texts for which it says 80%, it is right about 80%. The expected calibration error
(Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599) puts texts into bins by the probability of the class that was
chosen, and is the mean difference between this probability and the share that was right, weighted by the sizes of bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

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


@dataclass(frozen=True)
class Report:
    labels: tuple[str, ...]
    texts: int
    accuracy: float
    confusion: list[list[int]]  # [i][j]: how many texts of class i were taken for class j
    calibration_error: float
    bins: list[Bin]  # those with texts in them

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        right = round(self.accuracy * self.texts)
        lines = [f"accuracy {self.accuracy:.2%}: {right:,} of {self.texts:,} texts right", *self.confusion_lines()]
        lines.append(f"expected calibration error {self.calibration_error:.2%}")
        lines.append("  probability     texts  said   right")
        lines += [f"  {b.low:4.0%} to {b.high:4.0%} {b.texts:9,}  {b.confidence:6.1%} {b.accuracy:6.1%}"
                  for b in self.bins]  # fmt: skip
        return "\n".join(lines)

    def confusion_lines(self) -> list[str]:
        """A table with a row for each class: the right one at the left, the chosen one above."""
        cells = [["right \\ chosen", *self.labels]]
        cells += [[label, *(f"{n:,}" for n in row)] for label, row in zip(self.labels, self.confusion)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        return ["  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths)) for row in cells]


def report(probabilities: np.ndarray, classes: Sequence[int] | np.ndarray, labels: Sequence[str]) -> Report:
    """Compare probabilities (N, classes) with the right classes (N,)."""
    classes, chosen = np.asarray(classes), probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (classes, chosen), 1)
    bins = reliability(probabilities.max(axis=1), chosen == classes)
    error = sum(b.texts * abs(b.confidence - b.accuracy) for b in bins) / len(classes)
    accuracy = float((chosen == classes).mean())
    return Report(tuple(labels), len(classes), accuracy, confusion.tolist(), error, bins)


def reliability(confidences: np.ndarray, right: np.ndarray) -> list[Bin]:
    """The bins of texts, each with the mean of what was said and the share that was right."""
    numbers = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    found = []
    for number in np.unique(numbers).tolist():
        inside = numbers == number
        means = float(confidences[inside].mean()), float(right[inside].mean())
        found.append(Bin(number / BINS, (number + 1) / BINS, int(inside.sum()), *means))
    return found
