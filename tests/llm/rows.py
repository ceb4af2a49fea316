"""Rows of logits and of probabilities for tests of sampling, and a test of drawn numbers against probabilities.

Probabilities are drawn as counts over a power of two, and so are thresholds, so that sums and comparisons are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

WHOLE = 64


@st.composite
def logit_rows(draw: st.DrawFn) -> np.ndarray:
    """A row with ties, and with -inf, but not everywhere."""
    row = draw(
        st.lists(st.sampled_from([-math.inf, -3.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.5, 7.0]), min_size=1, max_size=12)
    )
    row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from([-2.0, 0.0, 3.0]))
    return np.array(row)


@st.composite
def probability_rows(draw: st.DrawFn) -> np.ndarray:
    """Multiples of 1 / WHOLE, zeros and ties among them, that add up to 1."""
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), max_size=6)))
    return np.diff([0, *cuts, WHOLE]) / WHOLE


def surprise(
    draw: Callable[[np.ndarray, np.random.Generator], int], p: np.ndarray, seed: int, draws: int = 2000
) -> float:
    """Pearson's chi-square of drawn counts, over a bound that a right draw passes with a probability below e^-25 =
    1.4e-11.

    The bound is that of Laurent and Massart (2000, lemma 1) for chi-square with n degrees of freedom: n + 2 sqrt(25 n)
    + 2 * 25.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount([draw(p, rng) for _ in range(draws)], minlength=len(p))
    if counts[p == 0].any():
        return math.inf
    expected, n = draws * p[p > 0], np.count_nonzero(p) - 1
    return float(((counts[p > 0] - expected) ** 2 / expected).sum() / (n + 10 * math.sqrt(n) + 50))
