"""How sure a result is: the error of a mean, the interval of a share, and whether one model is better than another.

A share of right answers is itself a draw: with other questions it would be another. Wilson's interval (1927) holds the
true share in 95 of 100 such experiments. It is right for few questions too, and for shares of 0 and 1, where the usual
p +- 1.96 sqrt(p (1 - p) / n) would have no width.

Two models that answer the same questions are compared question by question, because both find the same ones hard. Where
both are right, or both wrong, nothing is learned about which is better. McNemar's test (1947) looks at the others: were
the models equally good, each would win such a question with probability 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959964  # the normal distribution has 95% of its mass between -Z and Z


def wilson(right: int, count: int, z: float = Z) -> tuple[float, float]:
    """The bounds p of Wilson's interval: where |right / count - p| = z sqrt(p (1 - p) / count)."""
    share = right / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = ((middle + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    return (max(low, 0.0) if right else 0.0), (min(high, 1.0) if right < count else 1.0)


@dataclass(frozen=True)
class Share:
    """`right` of `count` items are right."""

    right: int
    count: int

    @property
    def value(self) -> float:
        return self.right / self.count

    @property
    def stderr(self) -> float:
        """The sample deviation of `right` ones and zeros for the others, / sqrt(n). NaN for a single item."""
        return math.sqrt(self.value * (1 - self.value) / (self.count - 1)) if self.count > 1 else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.count)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.right:,} of {self.count:,} right, {self.value:.1%} (95% interval {low:.1%} to {high:.1%})"


def shares(correct: Sequence[bool], kinds: Sequence[str]) -> dict[str, Share]:
    """Of each kind of item, and of all together if there are several kinds."""
    found = {
        kind: Share(sum(c for c, k in zip(correct, kinds, strict=True) if k == kind), kinds.count(kind))
        for kind in dict.fromkeys(kinds)
    }
    return found if len(found) == 1 else {**found, "all": Share(sum(correct), len(correct))}


def aligned(found: Mapping[str, object], indent: int = 0) -> Iterator[str]:
    """A line for each name and what is found for it, after so many spaces."""
    width = max(map(len, found), default=0)
    return (f"{' ' * indent}{name:{width}}  {value}" for name, value in found.items())


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of values that were drawn: their sample deviation / sqrt(n). NaN for a single value."""
    return standard_error_of_ratio(values, [1] * len(values))


def standard_error_of_ratio(values: Sequence[float], weights: Sequence[float]) -> float:
    """Of sum(values) / sum(weights), over items that were drawn, each with its value and its weight.

    For weights of 1 it is that of a mean. In general, to first order (the delta method), the ratio r moves by
    sum(value - r weight) / sum(weights).
    """
    count, total = len(values), sum(weights)
    if count < 2:
        return math.nan
    rests = np.asarray(values, np.float64) - np.asarray(weights, np.float64) * (sum(values) / total)
    return math.sqrt(float((rests**2).sum()) * count / (count - 1)) / total


@dataclass(frozen=True)
class Paired:
    """How much better one model is than another on the same items."""

    n: int
    difference: float  # the mean of the first model minus that of the second
    stderr: float
    interval: tuple[float, float]  # of 95%, of the difference
    won: int  # items on which the first is better
    lost: int
    p: float  # how likely a split as uneven as this is, or more so, if both were equally good

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.difference:+.4f} (95% interval {low:+.4f} to {high:+.4f}); "
            f"{self.won:,} won, {self.lost:,} lost, p = {self.p:.2g}"
        )


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compare the values of two models, item by item."""
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)  # (N,)
    mean, error = float(differences.mean()), standard_error(differences.tolist())
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    interval = (mean - Z * error, mean + Z * error)
    if {*differences.tolist()} <= {-1.0, 0.0, 1.0}:  # right or wrong
        interval = bonett_price(won, lost, len(differences))
    return Paired(len(differences), mean, error, interval, won, lost, mcnemar(won, lost))


def bonett_price(won: int, lost: int, count: int, z: float = Z) -> tuple[float, float]:
    """The interval of (won - lost) / count. One more item won, and one lost, make it right for few items too, as with
    Wilson's interval (Bonett and Price 2012).
    """
    win, loss = (won + 1) / (count + 2), (lost + 1) / (count + 2)
    middle = win - loss
    half = z * math.sqrt((win + loss - middle**2) / (count + 2))
    return max(middle - half, -1.0), min(middle + half, 1.0)


def mcnemar(won: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: that of `won` heads in `won + lost` tosses of a fair coin."""
    count, fewer = won + lost, min(won, lost)
    tail = ways = 1  # integers, because the terms of many tosses would overflow as floats
    for heads in range(fewer):
        ways = ways * (count - heads) // (heads + 1)  # C(count, heads + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**count)
