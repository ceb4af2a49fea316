"""What an objective reports beside the loss, such as an accuracy: sums and counts by name, which add up to means.

A mean of means would be wrong where one part of a batch has more tokens than another. So each worker reports sums, and
each sum is divided by its own count once, at the end: an accuracy by the number of pairs, a length by that of texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Metrics = Mapping[str, tuple[Any, Any]]  # name -> (sum, count); numbers, or arrays without axes


class MetricSums:
    """Sums of metrics. They do not depend on the order in which they were added."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[list[float], list[float]]] = {}

    def add(self, metrics: Metrics) -> None:
        for name, pair in metrics.items():
            for values, value in zip(self._values.setdefault(name, ([], [])), pair, strict=True):
                values.append(float(value))

    def merge(self, other: MetricSums) -> None:
        """Add the sums of others."""
        for name, pair in other._values.items():
            for values, more in zip(self._values.setdefault(name, ([], [])), pair, strict=True):
                values.extend(more)

    def means(self) -> dict[str, float]:
        """The mean of each metric; NaN for one that nothing was counted for."""
        totals = {name: (_total(sums), _total(counts)) for name, (sums, counts) in self._values.items()}
        return {name: total / count if count else math.nan for name, (total, count) in totals.items()}


def _total(values: list[float]) -> float:
    try:
        return math.fsum(values)  # rounds only once, at the end
    except (ValueError, OverflowError):  # infinities of both signs, or a sum beyond the largest float
        return math.nan
