"""How a token is chosen: the whole against plain Python, and the draw against its probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.inference import sampling as s
from llm.inference.sampling import Sampling
from tests.llm.rows import logit_rows, probability_rows, surprise

SEEDS = st.integers(0, 2**32 - 1)


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


@st.composite
def changes(draw: st.DrawFn, size: int) -> dict[str, Any]:
    """Bias, penalties and banned words, for a vocabulary of this size. One token at least is not forbidden."""
    ids, numbers = st.integers(0, size - 1), st.sampled_from([-math.inf, -2.0, 0.25, 100.0])
    allowed = draw(ids)
    return {
        "logit_bias": {i: n for i, n in draw(st.dictionaries(ids, numbers)).items() if i != allowed},
        "repetition_penalty": draw(st.sampled_from([1.0, 1.3, 0.7])),
        "frequency_penalty": draw(st.sampled_from([0.0, 0.5, -1.0])),
        "presence_penalty": draw(st.sampled_from([0.0, 0.75, -0.25])),
        "banned_words": [w for w in draw(st.lists(st.lists(ids, min_size=1, max_size=2))) if w[-1] != allowed],
    }


# --- all together -----------------------------------------------------------------------------------------------------


def plain_logits(row: list[float], ids: list[int], o: Sampling, prompt_length: int) -> list[float]:
    """The logits after all that looks at the text, one token after the other."""
    return [plain_logit(x, i, ids, ids[prompt_length:], o) for i, x in enumerate(row)]


def plain_logit(x: float, i: int, ids: list[int], written: list[int], o: Sampling) -> float:
    x += dict(o.logit_bias).get(i, 0)
    if i in ids:
        x = x / o.repetition_penalty if x > 0 else x * o.repetition_penalty
    x -= o.frequency_penalty * written.count(i)
    x -= o.presence_penalty if i in written else 0
    return -math.inf if any((*ids, i)[-len(word) :] == word for word in o.banned_words) else x


def plain_distribution(row: list[float], context: list[int], o: Sampling, prompt_length: int = 0) -> list[float]:
    """The same in plain Python, a list of candidates at a time: (weight, id), likeliest first."""
    row = plain_logits(row, context, o, prompt_length)
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


@given(logit_rows(), st.lists(st.integers(0, 11), max_size=4), samplings())
def test_the_whole_is_what_plain_python_says(row: np.ndarray, context: list[int], sampling: Sampling) -> None:
    """1e-12: exponentials and sums of at most 12 numbers round differently in the last digits."""
    context = [i % len(row) for i in context]
    expected = plain_distribution(list(row), context, sampling)
    np.testing.assert_allclose(s.distribution(row, context, sampling), expected, rtol=1e-12, atol=1e-300)


@given(logit_rows().filter(lambda row: np.isfinite(row).all()), st.lists(st.integers(0, 11), max_size=6), st.data())
def test_what_looks_at_the_text_comes_first_and_in_this_order(
    row: np.ndarray, ids: list[int], data: st.DataObject
) -> None:
    ids, prompt_length = [i % len(row) for i in ids], data.draw(st.integers(0, len(ids)))
    sampling = Sampling(**data.draw(changes(len(row))), temperature=data.draw(st.sampled_from([0.0, 0.7])))
    expected = plain_distribution(list(row), ids, sampling, prompt_length)
    p = s.distribution(row, ids, sampling, prompt_length)
    np.testing.assert_allclose(p, expected, rtol=1e-12, atol=1e-300)


@given(logit_rows(), samplings(), st.sampled_from([0.2, 0.7, 0.95]))
def test_typical_is_the_last_filter(row: np.ndarray, sampling: Sampling, typical_p: float) -> None:
    before = s.distribution(row, [0], sampling)
    after = s.distribution(row, [0], replace(sampling, typical_p=typical_p))
    np.testing.assert_array_equal(after, before if sampling.temperature == 0 else s.keep_typical(before, typical_p))


def test_frequency_and_presence_penalty_count_what_the_model_has_written() -> None:
    """The repetition penalty counts the prompt too."""
    row = np.ones(3)
    lowered = [
        np.flatnonzero(s.change_logits(row, [0, 1], Sampling(**{name: 2.0}), prompt_length=1) < 1).tolist()
        for name in ("frequency_penalty", "presence_penalty", "repetition_penalty")
    ]
    assert lowered == [[1], [1], [0, 1]]


@pytest.mark.parametrize(
    "options",
    [{"banned_words": [[0], [1, 1]]}, {"logit_bias": {0: -math.inf, 1: -math.inf}}, {"logit_bias": {0: 1e308}}],
)
def test_where_nothing_is_left_to_draw_it_is_said_so(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no token can be drawn: the bias, the penalties and the banned words forbid"):
        s.distribution(np.array([1.7e308, 0]), [0, 1], Sampling(repetition_penalty=0.5, **options))


@given(logit_rows(), samplings(), st.sampled_from([np.float16, np.float32, np.float64]))
def test_probabilities(row: np.ndarray, sampling: Sampling, dtype: type) -> None:
    p = s.distribution(row.astype(dtype), [0], sampling)
    assert p.dtype == np.float64
    assert p.min() >= 0
    assert abs(p.sum() - 1) < 1e-12
    assert not p[row == -math.inf].any()
    assert p[np.argmax(s.penalize_repetition(row, [0], sampling.repetition_penalty))] == p.max() > 0


@given(
    logit_rows(), samplings(top_k=1, repetition_penalty=1.0), samplings(temperature=0.0, repetition_penalty=1.0), SEEDS
)
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
        ("typical_p", 0.0),
        ("typical_p", 1.1),
        ("typical_p", math.nan),
        ("frequency_penalty", math.inf),
        ("frequency_penalty", math.nan),
        ("presence_penalty", -math.inf),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.inf),
        ("sampler", "torch"),
    ],
)
def test_options_that_make_no_sense(name: str, value: Any) -> None:
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
        ("typical_p", [1e-9, 1]),
        ("frequency_penalty", [-1e9, 1e9]),
        ("presence_penalty", [-1e9, 1e9]),
    ],
)
def test_the_bounds_of_an_option_are_taken(name: str, bounds: list[float | None]) -> None:
    assert [getattr(Sampling(**{name: value}), name) for value in bounds] == bounds


@pytest.mark.parametrize(
    "bias", [{-1: 1.0}, {0.5: 1.0}, {True: 1.0}, {3: math.nan}, {3: math.inf}, [(1, 0.0), (1, 2.0)]]
)
def test_a_bias_that_makes_no_sense(bias: Any) -> None:
    with pytest.raises(ValueError, match="^logit_bias=.* is not possible; it must be "):
        Sampling(logit_bias=bias)


@pytest.mark.parametrize("words", [[[]], [[1], [-1]], [[1, 0.5]]])
def test_banned_words_that_make_no_sense(words: Any) -> None:
    with pytest.raises(ValueError, match="^banned_words=.* is not possible; it must be words, each of at least one id"):
        Sampling(banned_words=words)


@pytest.mark.parametrize("options", [{"logit_bias": {5: 1.0}}, {"banned_words": [[0, 5]]}, {"banned_words": [[5, 0]]}])
def test_ids_that_the_model_does_not_know_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has the id 5, and the model knows 0 to 4"):
        s.distribution(np.zeros(5), [], Sampling(**options))
    s.distribution(np.zeros(6), [], Sampling(**options))


def test_a_sampling_can_be_hashed_and_compared_however_its_ids_are_given() -> None:
    one = Sampling(logit_bias={7: 1.0, 2: -1.0}, banned_words=[[1, 2], [3]])  # type: ignore[arg-type]
    other = Sampling(logit_bias=((2, -1.0), (7, 1.0)), banned_words=((1, 2), (3,)))
    assert one == other == replace(one) and hash(one) == hash(other)


@given(logit_rows(), st.lists(st.integers(0, 3), max_size=4))
def test_the_defaults_are_a_temperature_and_a_nucleus_and_nothing_else(row: np.ndarray, context: list[int]) -> None:
    expected = s.keep_top_p(s.softmax(s.apply_temperature(row, 0.8)), 0.95)
    np.testing.assert_array_equal(s.distribution(row, context, Sampling()), expected)


# --- the draw ---------------------------------------------------------------------------------------------------------


@given(probability_rows(), SEEDS)
def test_draws_follow_the_probabilities(p: np.ndarray, seed: int) -> None:
    assert surprise(s.draw, p, seed) < 1


@pytest.mark.control
@given(SEEDS)
def test_draws_from_another_distribution_are_noticed(seed: int) -> None:
    """A fifth of all probability is with the wrong token."""
    p = np.array([0.5, 0.5])
    assert surprise(lambda p, rng: s.draw(np.array([0.7, 0.3]), rng), p, seed) > 1


STEPS = np.arange(0.0, 6.0)  # logits


def draw_at(temperature: float) -> Callable[[np.ndarray, np.random.Generator], int]:
    """Draws from the logits STEPS, whatever the probabilities are."""
    sampling = Sampling(temperature=temperature, top_p=1.0)
    return lambda _, rng: s.sample(STEPS, [], sampling, rng)


@given(SEEDS, st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=5)
def test_tokens_are_drawn_at_the_temperature(seed: int, temperature: float) -> None:
    weights = np.exp(STEPS / temperature)
    assert surprise(draw_at(temperature), weights / weights.sum(), seed) < 1


@pytest.mark.control
@given(SEEDS)
@settings(max_examples=5)
def test_a_temperature_that_is_wrong_by_a_quarter_is_noticed(seed: int) -> None:
    """Of 8,000 draws. Their chi-square is about that with an offset of `shift`, and below shift + n - 2 sqrt(25 (n + 2
    shift)) with a probability of less than e^-25 (Birge 2001, lemma 8.1). This is above the bound of `surprise`.
    """
    draws, n = 8000, len(STEPS) - 1
    right, wrong = (np.exp(STEPS / t) / np.exp(STEPS / t).sum() for t in (1.0, 1.25))
    shift = draws * ((wrong - right) ** 2 / right).sum()
    assert shift + n - 2 * math.sqrt(25 * (n + 2 * shift)) > n + 10 * math.sqrt(n) + 50
    assert surprise(draw_at(1.25), right, seed, draws) > 1


@given(probability_rows(), SEEDS)
def test_the_same_generator_draws_the_same(p: np.ndarray, seed: int) -> None:
    first, second = (
        [s.draw(p, rng) for _ in range(5)] for rng in (np.random.default_rng(seed), np.random.default_rng(seed))
    )
    assert first == second


@given(probability_rows(), st.sampled_from([0.0, 0.5, np.nextafter(1, 0)]))
def test_a_token_without_probability_is_never_drawn(p: np.ndarray, number: float) -> None:
    class Fixed:
        def random(self) -> float:
            return number

    assert p[s.draw(p, Fixed())] > 0  # type: ignore[arg-type]
    assert p[s.draw(p / 3, Fixed())] > 0  # type: ignore[arg-type]  # and when they do not add up to 1
