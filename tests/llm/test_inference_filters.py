"""The filters: each against its definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference import filters as f
from tests.llm.rows import WHOLE, logit_rows, probability_rows

Filter = Callable[[np.ndarray, float], np.ndarray]


def is_top_k(keep_top_k: Filter, row: np.ndarray, k: int) -> bool:
    kept = set(sorted(range(len(row)), key=lambda i: (-row[i], i))[:k])
    return np.array_equal(keep_top_k(row, k), [x if i in kept else -math.inf for i, x in enumerate(row)])


def is_nucleus(keep_top_p: Filter, row: np.ndarray, p: float) -> bool:
    """Of all sets of tokens that reach p, none is smaller than what was kept, and none of its size is likelier."""
    kept = np.flatnonzero(keep_top_p(row, p))
    reach = [c for n in range(1, len(row) + 1) for c in combinations(range(len(row)), n) if row[list(c)].sum() >= p]
    fewest = min(map(len, reach))
    likeliest = max(row[list(c)].sum() for c in reach if len(c) == fewest)
    return len(kept) == fewest and row[kept].sum() == likeliest


def is_min_p(keep_min_p: Filter, row: np.ndarray, p: float) -> bool:
    top = Fraction(max(row))
    return np.array_equal(keep_min_p(row, p) > 0, [x > 0 and Fraction(x) / top >= Fraction(p) for x in row])


def is_typical(keep_typical: Filter, row: np.ndarray, p: float) -> bool:
    """What was kept reaches p, and does not without its last token, and no other token surprises more usually.

    1e-12: two tokens may surprise equally much, one more and one less than usual, up to the rounding of logarithms.
    """
    kept = np.flatnonzero(keep_typical(row, p))
    entropy = -sum(x * math.log(x) for x in row if x)
    unusual = [abs(-math.log(x) - entropy) if x else math.inf for x in row]
    others, last = set(range(len(row))) - set(kept), max(unusual[i] for i in kept)
    lasts = [i for i in kept if unusual[i] >= last - 1e-12]
    by_id = all(i > max(j for j in kept if row[j] == row[i]) for i in others if row[i] in row[kept])
    nearest = all(unusual[i] >= last - 1e-12 for i in others)
    return row[kept].sum() >= p and any(row[kept].sum() - row[i] < p for i in lasts) and nearest and by_id


@given(logit_rows(), st.integers(1, 14))
def test_top_k(row: np.ndarray, k: int) -> None:
    assert is_top_k(f.keep_top_k, row, k)


@given(probability_rows(), st.integers(1, WHOLE))
def test_top_p(row: np.ndarray, mass: int) -> None:
    assert is_nucleus(f.keep_top_p, row, mass / WHOLE)


@given(probability_rows(), st.integers(0, WHOLE))
def test_min_p(row: np.ndarray, times: int) -> None:
    assert is_min_p(f.keep_min_p, row, times / WHOLE)


@given(probability_rows(), st.integers(1, WHOLE))
def test_typical(row: np.ndarray, mass: int) -> None:
    assert is_typical(f.keep_typical, row, mass / WHOLE)


@given(st.integers(0, 2**32 - 1), st.integers(1, WHOLE))
def test_typical_of_many_ties(seed: int, mass: int) -> None:
    """1024 tokens: so many that most ways to sort do not keep the order of equal ones."""
    ranks = np.random.default_rng(seed).permutation(1024) % 4
    row = np.array([1, 2, 2, 3])[ranks] / 2048  # the sum is 1, and all sums are exact
    assert is_typical(f.keep_typical, row, mass / WHOLE)


def test_typical_leaves_out_the_most_likely_token_where_the_others_are_many() -> None:
    """One token of 1/4 and 48 of 1/64: the entropy is 3.46, and they surprise by 1.39 and 4.16."""
    row = np.array([0.25, *[1 / 64] * 48])
    assert np.flatnonzero(f.keep_typical(row, 0.5)).tolist() == list(range(1, 33))


@pytest.mark.control
def test_broken_filters_are_noticed() -> None:
    """One token too few, ties all kept, compared with the threshold alone, the likeliest instead of the most usual."""

    def without_the_last(row: np.ndarray, p: float) -> np.ndarray:
        return f.keep_only(f.mask_of_largest(row, np.count_nonzero(np.cumsum(np.sort(row)[::-1]) < p)), row)

    row = np.array([0.25, 0.5, 0.25])
    assert not is_nucleus(without_the_last, row, 0.625)
    assert not is_top_k(lambda row, k: np.where(row >= np.sort(row)[-k], row, -math.inf), row, 2)
    assert not is_min_p(lambda row, p: f.keep_only(row >= p, row), row, 0.5)
    assert not is_typical(f.keep_top_p, np.array([0.25, *[1 / 64] * 48]), 0.5)
    assert not is_typical(lambda row, p: row, np.array([0.25, 0.75]), 0.5)


@given(probability_rows(), st.integers(1, WHOLE))
def test_what_is_kept_keeps_its_proportions(row: np.ndarray, times: int) -> None:
    for keep in (f.keep_top_p, f.keep_min_p, f.keep_typical):
        filtered, before = keep(row, times / WHOLE), row.copy()
        kept = filtered > 0
        np.testing.assert_allclose(filtered[kept], row[kept] / row[kept].sum(), rtol=1e-15)
        assert not filtered[~kept].any()
        np.testing.assert_array_equal(row, before)


@given(probability_rows())
def test_a_filter_with_its_neutral_value_changes_nothing(row: np.ndarray) -> None:
    for same in (f.keep_top_p(row, 1.0), f.keep_min_p(row, 0.0), f.keep_typical(row, 1.0)):
        assert same is row
    np.testing.assert_array_equal(f.keep_top_k(row, len(row)), row)
