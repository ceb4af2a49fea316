"""Reports on classifiers: accuracy, confusion, calibration."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation.calibration import BINS
from llm.inference.classify import batches_by_length, class_outputs, padded
from llm.model.classifier import Classifier
from llm.model.config import GPTConfig
from llm.tuning.classification.report import report
from tests.llm.gpts import CONTEXT, SEEDS, VOCAB, configs, random_gpt, token_ids

SUMS = {"rtol": 1e-9, "atol": 1e-12}  # of a few dozen numbers below 1, in float64


def drawn(seed: int, texts: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), texts), rng.integers(0, classes, texts)


@given(SEEDS, st.integers(1, 60), st.integers(2, 5))
def test_a_report_counts_every_text_once(seed: int, texts: int, count: int) -> None:
    probabilities, classes = drawn(seed, texts, count)
    found = report(probabilities, classes, [str(i) for i in range(count)])
    assert [sum(row) for row in found.confusion] == np.bincount(classes, minlength=count).tolist()
    assert np.sum(found.confusion, axis=0).tolist() == np.bincount(probabilities.argmax(1), minlength=count).tolist()
    assert np.trace(found.confusion) == round(found.accuracy * texts)
    assert sum(b.texts for b in found.bins) == texts
    assert sum(b.texts * b.accuracy for b in found.bins) == pytest.approx(np.trace(found.confusion))


@given(SEEDS, st.integers(1, 60))
def test_the_calibration_error_is_the_weighted_mean_of_the_differences_in_bins(seed: int, texts: int) -> None:
    probabilities, classes = drawn(seed, texts, 3)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == classes
    expected = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (confidence > low) & (confidence <= low + 1 / BINS)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    found = report(probabilities, classes, ["a", "b", "c"]).calibration_error
    np.testing.assert_allclose(found, expected, **SUMS)


def test_who_is_always_sure_and_never_right_has_the_largest_error() -> None:
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert report(sure, [1, 0], ["a", "b"]).calibration_error == 1
    assert report(sure, [0, 1], ["a", "b"]).calibration_error == 0


def test_a_report_can_be_printed_and_written() -> None:
    found = report(np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]]), [0, 1, 1], ["ham", "spam"])
    lines = str(found).splitlines()
    assert lines[0] == "accuracy 66.67%: 2 of 3 texts right"
    assert lines[1].split() == ["right", "\\", "chosen", "ham", "spam"]
    assert lines[2].split() == ["ham", "1", "0"] and lines[3].split() == ["spam", "1", "1"]
    assert json.loads(json.dumps(found.to_json()))["confusion"] == [[1, 0], [1, 1]]


@given(configs(), SEEDS, st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_probabilities_do_not_depend_on_the_other_texts(config: GPTConfig, seed: int, lengths: list[int]) -> None:
    classifier = Classifier(random_gpt(config, seed), 3, rng=seed)
    texts = [token_ids(np.random.default_rng(seed + i), length).tolist() for i, length in enumerate(lengths)]
    found = class_outputs(classifier, texts)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-9)
    for text, row in zip(texts, found):
        np.testing.assert_allclose(class_outputs(classifier, [text])[0], row, rtol=1e-8, atol=1e-10)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=50))
def test_each_text_is_in_one_batch(lengths: list[int]) -> None:
    batches = list(batches_by_length(lengths))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))


@given(st.lists(st.lists(st.integers(1, VOCAB), min_size=1, max_size=CONTEXT), min_size=1, max_size=5))
def test_padded_texts_have_their_ids_where_the_mask_is_true(texts: list[list[int]]) -> None:
    ids, mask = padded(texts)
    assert [row[real].tolist() for row, real in zip(ids, mask)] == texts
    assert (ids[~mask] == 0).all()
