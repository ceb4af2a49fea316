"""SmolLM2 on HellaSwag and LAMBADA: item for item the log-likelihoods of lm-eval on transformers, and its scores."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llm
from llm.evaluation.batched import log_likelihoods
from llm.evaluation.likelihood import log_likelihood
from tests.llm.smollm2 import smollm2_path

pytestmark = pytest.mark.shared

ITEMS = 60  # of each task that the golden file has
# Both sides compute in float32, but add up in another order: lm-eval fills batches with padding.
TOLERANCE = 2e-3

some_or_all = pytest.mark.parametrize("count", [3, pytest.param(ITEMS, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def model() -> Any:
    return llm.load(smollm2_path())


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> Any:
    return json.loads((shared_data / "tasks" / "golden_smollm2.json").read_text())


def rows(path: Path, count: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()[:count]]


def cleaned(text: str) -> str:
    """As lm-eval cleans the texts of HellaSwag."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


@some_or_all
def test_hellaswag(count: int, model: Any, golden: Any, shared_data: Path) -> None:
    questions = rows(shared_data / "tasks" / "hellaswag_val_2000.jsonl", count)
    pairs = [(cleaned(q["query"]), f" {cleaned(ending)}") for q in questions for ending in q["endings"]]
    totals = np.array([found.total for found in log_likelihoods(*model, pairs)]).reshape(count, 4)
    np.testing.assert_allclose(totals, golden["hellaswag"]["loglikelihoods"][:count], rtol=0, atol=TOLERANCE)
    if count == ITEMS:
        labels = [q["label"] for q in questions]
        characters = np.array([len(ending) - 1 for _, ending in pairs]).reshape(count, 4)
        assert np.mean(totals.argmax(axis=1) == labels) == pytest.approx(golden["hellaswag"]["acc"])
        assert np.mean((totals / characters).argmax(axis=1) == labels) == pytest.approx(golden["hellaswag"]["acc_norm"])


@some_or_all
def test_lambada(count: int, model: Any, golden: Any, shared_data: Path) -> None:
    texts = [row["text"].rpartition(" ") for row in rows(shared_data / "tasks" / "lambada_2000.jsonl", count)]
    found = log_likelihoods(*model, [(context, f" {word}") for context, _, word in texts])
    expected = golden["lambada"]
    totals = [each.total for each in found]
    np.testing.assert_allclose(totals, expected["loglikelihoods"][:count], rtol=0, atol=TOLERANCE)
    assert [each.is_greedy for each in found] == expected["greedy"][:count]
    if count == ITEMS:
        assert np.mean([each.is_greedy for each in found]) == pytest.approx(expected["acc"])
        assert np.exp(-np.mean(totals)) == pytest.approx(expected["perplexity"], rel=TOLERANCE)


@pytest.mark.slow
def test_one_by_one(model: Any, golden: Any, shared_data: Path) -> None:
    questions = rows(shared_data / "tasks" / "hellaswag_val_2000.jsonl", 4)
    for question, expected in zip(questions, golden["hellaswag"]["loglikelihoods"], strict=False):
        context = cleaned(question["query"])
        found = [log_likelihood(*model, context, f" {cleaned(ending)}").total for ending in question["endings"]]
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
