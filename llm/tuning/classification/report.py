"""How good a classifier is: accuracy, which classes it confuses, and whether its probabilities can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from llm.evaluation.calibration import Bin, calibration_error, reliability, reliability_table


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
        lines += reliability_table(self.bins, "texts")
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
    accuracy = float((chosen == classes).mean())
    return Report(tuple(labels), len(classes), accuracy, confusion.tolist(), calibration_error(bins), bins)
