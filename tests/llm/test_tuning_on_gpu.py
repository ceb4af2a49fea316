"""Classifiers, preferences and rewards on a GPU: the same losses, metrics and gradients as on the CPU.

The GPU is the stand-in for CuPy (tests/fake_cupy) or, under the mark `gpu`, a real one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llm.inference.classify import class_outputs
from llm.model.classifier import Classifier
from llm.model.config import GPTConfig
from llm.runs.tuning_options import TuningOptions
from llm.tuning.classification.task import Classes
from llm.tuning.preferences.losses import LOSSES
from llm.tuning.preferences.reward_task import Rewards
from llm.tuning.preferences.task import Preferences
from minigrad.backend import to_device
from tests.llm.gpts import VOCAB, random_gpt

CONFIG = GPTConfig(VOCAB, 16, layers=1, heads=2, dim=8, positions="rope")
RNG = np.random.default_rng(0)
IDS = RNG.integers(0, VOCAB, (4, 6))
MASKS = {"right": np.arange(6) < np.array([[4], [6], [1], [5]]), "left": np.arange(6) >= np.array([[2], [0], [5], [1]])}
TARGETS = np.where(np.arange(6) < 2, -100, RNG.integers(0, VOCAB, (2, 2, 6)))
PAIRS = IDS.reshape(2, 2, 6), TARGETS, np.full((2, 2), -9.0)


def results(objective: Any, model: Any, batch: tuple[np.ndarray, ...], device: str) -> list[np.ndarray]:
    """The loss, the metrics and the gradients."""
    model.to(device)
    model.zero_grad()
    loss, metrics = objective.loss_sum(model, tuple(to_device(array, device) for array in batch))
    loss.backward()
    gradients = [to_device(p.grad.data, "cpu") for p in model.parameters()]
    return [to_device(loss.data, "cpu"), np.array([[float(x) for x in pair] for pair in metrics.values()]), *gradients]


def assert_equal_on_both(objective: Any, model: Any, batch: tuple[np.ndarray, ...]) -> None:
    expected, found = (results(objective, model, batch, device) for device in ("cpu", "cuda"))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)  # float64, in another order


@pytest.mark.parametrize("side", MASKS)
def test_a_classifier(cupy: Any, side: str) -> None:
    classifier = Classifier(random_gpt(CONFIG, 0), 3)
    assert_equal_on_both(Classes(), classifier, (IDS, MASKS[side], np.array([0, 1, 2, 0])))
    assert class_outputs(classifier, [[1, 2], [3]]).shape == (2, 3)


def test_a_reward_model(cupy: Any) -> None:
    batch = IDS.reshape(2, 2, 6), MASKS["right"].reshape(2, 2, 6), np.array([0.0, 1.0])
    assert_equal_on_both(Rewards(0.1), Classifier(random_gpt(CONFIG, 0), 1), batch)


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_preferences(cupy: Any, kind: Any) -> None:
    assert_equal_on_both(Preferences(TuningOptions(preference=kind)), random_gpt(CONFIG, 0), PAIRS)
