"""The learned filter: its features, its training, the ROC curve, and the file that keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from llm.data.documents import Document
from llm.data.errors import DataError
from llm.data.lab.filters.curve import area_reference, choose_threshold, curve_of
from llm.data.lab.filters.examples import divide, sample
from llm.data.lab.filters.features import LONGEST, Features
from llm.data.lab.filters.learned import KEY, LearnedFilter, load_filter, save_filter
from llm.data.lab.filters.training import Fit, LogisticRegression, fit, loss_of
from minigrad.gradcheck import gradcheck

FEATURES = Features(bits=12)
EXPECTED = [
    8106,
    57343,
    65808,
    67573,
    93914,
    101070,
    113027,
    114728,
    117560,
    119835,
    125593,
    126821,
    127490,
    129416,
    133030,
    133895,
    135054,
    140181,
    154981,
    158987,
    164341,
    183989,
    195432,
    197798,
    208462,
    214544,
    222605,
    229734,
    241521,
    243514,
    244793,
    249913,
    256391,
    257840,
    260824,
]
TEXTS = st.text(st.characters(), max_size=60)
TEXTS_WITH_WORDS = TEXTS.filter(lambda text: text.split())  # Hypothesis takes .filter(str.split) for "not empty"
SCORES = st.lists(st.integers(0, 8).map(lambda n: n / 8), min_size=1, max_size=30).map(np.array)  # with equal ones


# --- features ---------------------------------------------------------------------------------------------------------


@given(TEXTS, st.integers(8, 20), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
def test_a_text_becomes_numbers_in_order_and_each_once(text: str, bits: int, words: int, first: int, more: int) -> None:
    ids = Features(bits, words, first, first + more)(text)
    assert ids.dtype == np.int32 and len(ids) and ids.min() >= 0 and ids.max() < 1 << bits
    assert (np.diff(ids) > 0).all()


@given(TEXTS_WITH_WORDS, TEXTS_WITH_WORDS)
def test_a_text_has_the_n_grams_of_its_parts(first: str, second: str) -> None:
    together = FEATURES(f"{first} {second}")
    assert set(FEATURES(first)) | set(FEATURES(second)) <= set(together)


def test_an_n_gram_has_the_same_number_in_every_process() -> None:
    """A filter that is saved today must be right tomorrow: with Python's own `hash`, it would not."""
    assert Features()("Call 07090!").tolist() == EXPECTED


def test_capitals_digits_and_spaces_do_not_matter_but_the_order_does() -> None:
    assert (FEATURES("Call 123  now!") == FEATURES("call 947 NOW !")).all()
    assert not np.array_equal(FEATURES("call now"), FEATURES("now call"))
    assert not np.array_equal(FEATURES("call now"), FEATURES("llac won"))


def test_words_and_characters_are_different_n_grams() -> None:
    only_words, only_characters = Features(20, 1, 9, 9), Features(20, 1, 1, 1)
    assert len(only_words("a")) == 1 and not set(only_words("a")) <= set(only_characters(" "))


def test_only_the_beginning_of_a_long_text_is_looked_at() -> None:
    long = ("some words " * LONGEST)[:LONGEST]
    assert (FEATURES(long) == FEATURES(long + "and something else")).all()
    assert len(FEATURES(long[:-30] + "and something else")) > len(FEATURES(long))


# --- training ---------------------------------------------------------------------------------------------------------


def drawn(rng: np.random.Generator, texts: int, size: int) -> list[np.ndarray]:
    return [np.flatnonzero(rng.random(size) < rng.uniform(0.1, 0.9)) for _ in range(texts)]


@given(st.integers(0, 2**32 - 1))
def test_the_model_is_a_product_with_a_matrix_of_the_features(seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts = [ids if len(ids) else np.array([0]) for ids in drawn(rng, 5, 20)]
    model = LogisticRegression(20)
    model.weight.data[:], model.bias.data[:] = rng.normal(size=20), rng.normal(size=1)
    matrix = np.zeros((5, 20), np.float32)
    for row, ids in zip(matrix, texts):
        row[ids] = 1 / np.sqrt(len(ids))
    expected = matrix @ model.weight.data + model.bias.data
    assert np.allclose(model(texts).numpy(), expected, atol=1e-5)  # sums of 20 float32 numbers of about 1
    rule = LearnedFilter("x", model.weight.data, float(model.bias.data[0]), 0.5)
    scores = [rule.score_of(ids) for ids in texts]
    assert np.allclose(scores, 1 / (1 + np.exp(-expected.astype(np.float64))), atol=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_the_loss_is_the_cross_entropy_and_its_gradient_is_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z, is_good, weights = rng.normal(size=6), rng.random(6) < 0.5, rng.random(6)
    p = 1 / (1 + np.exp(-z))
    expected = -np.mean(weights * np.where(is_good, np.log(p), np.log(1 - p)))
    assert np.isclose(loss_of_array(z, is_good, weights), expected)
    gradcheck(lambda z: loss_of(z, is_good.astype(float), weights), [z])


def loss_of_array(z: np.ndarray, is_good: np.ndarray, weights: np.ndarray) -> float:
    from minigrad import Tensor

    return loss_of(Tensor(z), is_good.astype(float), weights).item()


@settings(max_examples=2)
@given(st.integers(0, 2**32 - 1))
def test_a_rule_that_can_be_learned_is_learned_and_always_the_same(seed: int) -> None:
    """Good texts have number 0, bad ones number 1; all else is noise. There are ten times as many good ones."""
    rng = np.random.default_rng(seed)
    is_good = np.arange(330) % 11 > 0
    texts = [np.unique(np.append(2 + rng.integers(0, 60, 8), int(not good))) for good in is_good]
    first, second = (fit(texts, is_good, 64, Fit(least_steps=60, seed=seed)) for _ in range(2))
    assert (first.weight.data == second.weight.data).all()
    z = first(texts).numpy()
    assert z[is_good].min() > 0 > z[~is_good].max(), "0.5 is between them although there are fewer bad ones"


def test_texts_that_are_all_alike_do_not_make_training_diverge() -> None:
    """Where the loss curves most: each step would be too long if it were longer by half."""
    is_good = np.arange(300) % 2 == 0
    model = fit([np.array([3, 5])] * 300, is_good, 8)
    assert abs(model([np.array([3, 5])]).item()) < 0.2


# --- the curve --------------------------------------------------------------------------------------------------------


@given(SCORES, SCORES)
def test_the_area_is_the_share_of_pairs_in_the_right_order(good: np.ndarray, bad: np.ndarray) -> None:
    assert np.isclose(curve_of(good, bad).area, area_reference(good, bad), atol=1e-12)
    assert np.isclose(curve_of(good, bad).area + curve_of(bad, good).area, 1, atol=1e-12)


@given(SCORES, SCORES, st.integers(0, 2**32 - 1))
def test_the_area_depends_on_the_order_of_the_scores_alone(good: np.ndarray, bad: np.ndarray, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(good)
    assert curve_of(np.exp(shuffled), np.exp(bad)).area == curve_of(good, bad).area


@pytest.mark.slow
@pytest.mark.parity
@given(SCORES, SCORES)
def test_the_curve_is_that_of_scikit_learn(good: np.ndarray, bad: np.ndarray) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, scores = np.repeat([0, 1], [len(good), len(bad)]), -np.concatenate([good, bad])
    x, y, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    curve = curve_of(good, bad)
    assert np.allclose(x, curve.good_dropped) and np.allclose(y, curve.bad_dropped)
    assert np.isclose(metrics.roc_auc_score(labels, scores), curve.area)


@given(SCORES, SCORES, st.floats(0, 0.99))
def test_no_other_threshold_drops_more_bad_texts_at_that_price(good: np.ndarray, bad: np.ndarray, lose: float) -> None:
    def dropped(threshold: float) -> tuple[float, float]:
        return np.mean(bad < threshold), -np.mean(good < threshold)

    others = [dropped(t) for t in np.linspace(-0.01, 1.01, 200) if -dropped(t)[1] <= lose]
    threshold = choose_threshold(curve_of(good, bad), lose)
    assert dropped(threshold) == max(others) and 0 <= threshold <= 1


@given(st.floats(0, 1))
def test_scores_next_to_each_other_are_divided_too(score: float) -> None:
    above = np.nextafter(score, 2)
    threshold = choose_threshold(curve_of(np.array([above]), np.array([score])), 0.0)
    assert score < threshold <= above


# --- examples ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.text("ab", max_size=6), max_size=60), st.integers(1, 60), st.integers(0, 9), st.randoms())
def test_a_sample_has_each_text_once_and_does_not_depend_on_the_order(texts, most, seed, random) -> None:
    first = [example.text for example in sample(map(Document, texts), most, seed, is_good=True)]
    assert len(first) == len(set(first)) == min(most, len(set(texts))) and set(first) <= set(texts)
    random.shuffle(texts)
    assert [example.text for example in sample(map(Document, texts), most, seed, is_good=True)] == first


@given(st.integers(10, 80), st.integers(10, 80), st.integers(0, 9))
def test_no_text_is_in_two_parts_and_each_part_has_both_kinds(good: int, bad: int, seed: int) -> None:
    kinds = [
        sample((Document(f"{kind} {i}") for i in range(count)), 100, seed, is_good=kind == "good")
        for kind, count in (("good", good), ("bad", bad))
    ]
    parts = divide(*kinds)
    assert sorted(sum(parts, [])) == sorted(kinds[0] + kinds[1])
    assert all({example.is_good for example in part} == {True, False} for part in parts)


def test_a_sample_is_drawn_at_random() -> None:
    """About half of the sample comes from each half of the documents: 5 standard deviations are 0.16."""
    texts = [str(i) for i in range(2000)]
    chosen = sample(map(Document, texts), 1000, 3, is_good=True)
    assert abs(np.mean([int(example.text) < 1000 for example in chosen]) - 0.5) < 0.08


# --- the file ---------------------------------------------------------------------------------------------------------


def a_filter(seed: int = 0) -> LearnedFilter:
    rng = np.random.default_rng(seed)
    return LearnedFilter("filter_spam", rng.normal(size=1 << 12).astype(np.float32), 0.25, 0.625, FEATURES)


@given(TEXTS)
def test_a_filter_says_the_same_after_it_was_saved(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("filter") / "f.safetensors"
    save_filter(a_filter(), path)
    verdict = load_filter(path)(text)
    assert verdict == a_filter()(text)
    assert verdict.kept == (verdict.number >= verdict.threshold) and verdict.rule == "filter_spam"
    assert 0 <= verdict.number <= 1 and verdict.threshold == 0.625


@pytest.mark.parametrize("bias", [-1e4, 1e4])
def test_a_score_never_overflows(bias: float) -> None:
    rule = LearnedFilter("x", np.zeros(1 << 12, np.float32), bias, 0.5, FEATURES)
    assert rule.score("a") == (bias > 0)


@given(st.integers(0, 2**32 - 1))
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path, rng = tmp_path_factory.mktemp("filter") / "f.safetensors", np.random.default_rng(seed)
    save_filter(a_filter(), path)
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(0, len(content))])
    with pytest.raises(DataError, match="is not a filter that `train-filter` wrote"):
        load_filter(path)


WRONG = [
    {},
    {"features": {"bits": 13}},
    {"features": {"bits": 12, "words": 0}},
    {"features": {"bits": 12, "shortest": 9}},
    {"features": {"more": 1}},
    {"threshold": "0.5"},
    {"bias": None},
    {"bias": float("nan")},
    {"name": 3},
    {"more": 1},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_a_file_with_other_things_in_it_is_refused(tmp_path: Path, change: dict) -> None:
    right = {"name": "x", "bias": 0.0, "threshold": 0.5, "features": {"bits": 12}}
    for settings_, is_right in ((right, True), (right | change if change else [], False)):
        save_file({"weight": np.zeros(1 << 12, np.float32)}, tmp_path / "f", {KEY: json.dumps(settings_)})
        if is_right:
            assert load_filter(tmp_path / "f")("a").kept
        else:
            with pytest.raises(DataError):
                load_filter(tmp_path / "f")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"):
        load_filter(tmp_path / "nothing")
