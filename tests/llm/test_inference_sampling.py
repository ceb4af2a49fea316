"""How a token is chosen: each filter against its definition, the whole against plain Python, the draw against its
probabilities.

Probabilities are drawn as counts over a power of two, and so are the thresholds, so that sums and comparisons are
exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference import sampling as s
from llm.inference.sampling import Sampling

SEEDS = st.integers(0, 2**32 - 1)
WHOLE = 64
Filter = Callable[[np.ndarray, float], np.ndarray]


@st.composite
def logits(draw: st.DrawFn) -> np.ndarray:
    """A row with ties, and with -inf, but not everywhere."""
    row = draw(
        st.lists(st.sampled_from([-math.inf, -3.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.5, 7.0]), min_size=1, max_size=12)
    )
    row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from([-2.0, 0.0, 3.0]))
    return np.array(row)


@st.composite
def probabilities(draw: st.DrawFn) -> np.ndarray:
    """Multiples of 1 / WHOLE, zeros and ties among them, that add up to 1."""
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), max_size=6)))
    return np.diff([0, *cuts, WHOLE]) / WHOLE


@st.composite
def samplings(draw: st.DrawFn, **fixed: Any) -> Sampling:
    drawn: dict[str, Any] = {
        "temperature": draw(st.sampled_from([0.0, 0.3, 1.0, 2.0])),
        "top_k": draw(st.sampled_from([None, 1, 2, 5, 100])),
        "top_p": draw(st.sampled_from([0.05, 0.37, 0.81, 1.0])),
        "min_p": draw(st.sampled_from([0.0, 0.013, 0.21, 1.0])),
        "repetition_penalty": draw(st.sampled_from([1.0, 1.3, 0.7])),
    }
    return Sampling(**drawn | fixed)


# --- the filters, each against its definition -------------------------------------------------------------------------


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


@given(logits(), st.integers(1, 14))
def test_top_k(row: np.ndarray, k: int) -> None:
    assert is_top_k(s.keep_top_k, row, k)


@given(probabilities(), st.integers(1, WHOLE))
def test_top_p(row: np.ndarray, mass: int) -> None:
    assert is_nucleus(s.keep_top_p, row, mass / WHOLE)


@given(probabilities(), st.integers(0, WHOLE))
def test_min_p(row: np.ndarray, times: int) -> None:
    assert is_min_p(s.keep_min_p, row, times / WHOLE)


@pytest.mark.control
def test_broken_filters_are_noticed() -> None:
    """One token too few, ties all kept, compared with the threshold alone."""

    def without_the_last(row: np.ndarray, p: float) -> np.ndarray:
        return s.keep_only(s.mask_of_largest(row, np.count_nonzero(np.cumsum(np.sort(row)[::-1]) < p)), row)

    row = np.array([0.25, 0.5, 0.25])
    assert not is_nucleus(without_the_last, row, 0.625)
    assert not is_top_k(lambda row, k: np.where(row >= np.sort(row)[-k], row, -math.inf), row, 2)
    assert not is_min_p(lambda row, p: s.keep_only(row >= p, row), row, 0.5)


@given(probabilities(), st.integers(1, WHOLE))
def test_what_is_kept_keeps_its_proportions(row: np.ndarray, times: int) -> None:
    for filtered in (s.keep_top_p(row, times / WHOLE), s.keep_min_p(row, times / WHOLE)):
        kept = filtered > 0
        np.testing.assert_allclose(filtered[kept], row[kept] / row[kept].sum(), rtol=1e-15)
        assert not filtered[~kept].any()


@given(logits(), st.lists(st.integers(0, 11)), st.sampled_from([0.5, 1.0, 1.2, 3.0]))
def test_repetition_penalty(row: np.ndarray, context: list[int], penalty: float) -> None:
    """A token counts once, however often it occurs; the logits given are left alone."""
    context, before = [i % len(row) for i in context], row.copy()
    expected = [x if i not in context else x / penalty if x > 0 else x * penalty for i, x in enumerate(row)]
    np.testing.assert_array_equal(s.penalize_repetition(row, context, penalty), expected)
    np.testing.assert_array_equal(row, before)


# --- all together -----------------------------------------------------------------------------------------------------


def plain_distribution(row: list[float], context: list[int], o: Sampling) -> list[float]:
    """The same in plain Python, a list of candidates at a time: (weight, id), likeliest first."""
    row = [
        x if i not in context else x / o.repetition_penalty if x > 0 else x * o.repetition_penalty
        for i, x in enumerate(row)
    ]
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))
    if o.temperature == 0:
        return [float(i == order[0]) for i in range(len(row))]
    left = [(math.exp((row[i] - row[order[0]]) / o.temperature), i) for i in order[: o.top_k]]
    total, mass, nucleus = sum(w for w, _ in left), 0.0, []
    for w, i in left:
        if mass < o.top_p * total:
            nucleus.append((w, i))
        mass += w
    left = [(w, i) for w, i in nucleus if w >= o.min_p * nucleus[0][0]]
    share = {i: w / sum(w for w, _ in left) for w, i in left}
    return [share.get(i, 0.0) for i in range(len(row))]


@given(logits(), st.lists(st.integers(0, 11), max_size=4), samplings())
def test_the_whole_is_what_plain_python_says(row: np.ndarray, context: list[int], sampling: Sampling) -> None:
    """1e-12: exponentials and sums of at most 12 numbers round differently in the last digits."""
    context = [i % len(row) for i in context]
    expected = plain_distribution(list(row), context, sampling)
    np.testing.assert_allclose(s.distribution(row, context, sampling), expected, rtol=1e-12, atol=1e-300)


@given(logits(), samplings(), st.sampled_from([np.float16, np.float32, np.float64]))
def test_probabilities(row: np.ndarray, sampling: Sampling, dtype: type) -> None:
    p = s.distribution(row.astype(dtype), [0], sampling)
    assert p.dtype == np.float64
    assert p.min() >= 0
    assert abs(p.sum() - 1) < 1e-12
    assert not p[row == -math.inf].any()
    assert p[np.argmax(s.penalize_repetition(row, [0], sampling.repetition_penalty))] == p.max() > 0


@given(logits(), samplings(top_k=1, repetition_penalty=1.0), samplings(temperature=0.0, repetition_penalty=1.0), SEEDS)
def test_top_k_1_and_temperature_0_are_greedy(row: np.ndarray, one: Sampling, cold: Sampling, seed: int) -> None:
    for sampling in (one, cold):
        assert s.sample(row, [0], sampling, np.random.default_rng(seed)) == np.argmax(row)


def test_filters_work_on_what_the_filter_before_left() -> None:
    """Of 0.4, 0.3, 0.2, 0.1 the nucleus of 0.55 has two tokens; but one after top-k 2, when the first has 4/7. Min-p
    looks at what the temperature made of them: 0.3 / 0.4 is above 0.6, its square below.
    """
    row = np.log([0.4, 0.3, 0.2, 0.1])
    kept = [
        np.count_nonzero(s.distribution(row, [], Sampling(1.0, **options)))
        for options in ({"top_p": 0.55}, {"top_k": 2, "top_p": 0.55}, {"top_p": 1.0, "min_p": 0.6})
    ]
    assert kept == [2, 1, 2]
    assert np.count_nonzero(s.distribution(row, [], Sampling(0.5, top_p=1.0, min_p=0.6))) == 1


def test_extremes() -> None:
    everything = {"top_p": 1.0}
    np.testing.assert_array_equal(s.distribution(np.full(4, 1e30), [], Sampling(1.0, **everything)), np.full(4, 0.25))
    np.testing.assert_array_equal(
        s.distribution(np.array([1.0, 3.0, 3.0, 2.9]), [], Sampling(1e-300, **everything)), [0, 0.5, 0.5, 0]
    )
    np.testing.assert_array_equal(s.distribution(np.array([-1e308, 1e308]), [], Sampling(0.1, **everything)), [0, 1])
    np.testing.assert_allclose(s.distribution(np.array([1.0, 5.0]), [], Sampling(1e300, **everything)), [0.5, 0.5])
    np.testing.assert_array_equal(s.distribution(np.array([-np.inf, -5.0, -np.inf]), [], Sampling()), [0, 1, 0])


@pytest.mark.parametrize("row", [[1.0, np.nan], [1.0, np.inf], [-np.inf, -np.inf]])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_no_token_can_be_drawn_from(row: list[float], temperature: float) -> None:
    with pytest.raises(ValueError, match="the largest logit of the model is .*damaged"):
        s.distribution(np.array(row), [], Sampling(temperature))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", 0),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -0.1),
        ("min_p", 1.5),
        ("min_p", math.nan),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.inf),
    ],
)
def test_options_that_make_no_sense(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}={value} is not possible; it must be "):
        Sampling(**{name: value})


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("temperature", [0]),
        ("top_k", [1, None]),
        ("top_p", [1e-9, 1]),
        ("min_p", [0, 1]),
        ("repetition_penalty", [1e-9]),
    ],
)
def test_the_bounds_of_an_option_are_taken(name: str, bounds: list[float | None]) -> None:
    assert [getattr(Sampling(**{name: value}), name) for value in bounds] == bounds


@given(logits(), st.lists(st.integers(0, 3), max_size=4))
def test_the_defaults_are_a_temperature_and_a_nucleus_and_nothing_else(row: np.ndarray, context: list[int]) -> None:
    expected = s.keep_top_p(s.softmax(s.apply_temperature(row, 0.8)), 0.95)
    np.testing.assert_array_equal(s.distribution(row, context, Sampling()), expected)


# --- the draw ---------------------------------------------------------------------------------------------------------


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


@given(probabilities(), SEEDS)
def test_draws_follow_the_probabilities(p: np.ndarray, seed: int) -> None:
    assert surprise(s.draw, p, seed) < 1


@pytest.mark.control
@given(SEEDS)
def test_draws_from_another_distribution_are_noticed(seed: int) -> None:
    """A fifth of all probability is with the wrong token."""
    p = np.array([0.5, 0.5])
    assert surprise(lambda p, rng: s.draw(np.array([0.7, 0.3]), rng), p, seed) > 1


@given(probabilities(), SEEDS)
def test_the_same_generator_draws_the_same(p: np.ndarray, seed: int) -> None:
    first, second = (
        [s.draw(p, rng) for _ in range(5)] for rng in (np.random.default_rng(seed), np.random.default_rng(seed))
    )
    assert first == second


@given(probabilities(), st.sampled_from([0.0, 0.5, np.nextafter(1, 0)]))
def test_a_token_without_probability_is_never_drawn(p: np.ndarray, number: float) -> None:
    class Fixed:
        def random(self) -> float:
            return number

    assert p[s.draw(p, Fixed())] > 0  # type: ignore[arg-type]
    assert p[s.draw(p / 3, Fixed())] > 0  # type: ignore[arg-type]  # and when they do not add up to 1
