"""Training steps in a captured graph are those of `train_step`, in one launch and with one wait each."""

from __future__ import annotations

import numpy as np
import pytest

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.threads import Threads
from llm.training.captured import CapturedStep
from llm.training.objectives import NextToken
from llm.training.step import train_step
from minigrad.optim import AdamW
from tests import fake_cupy

V, B, T, STEPS = 11, 2, 7, 4
SHAPES = {
    "gpt2": {},
    "llama": {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "kv_heads": 1, "bias": False},
    "soft cap": {"positions": "none", "soft_cap": 5.0, "window": 3},
}


def make(name: str) -> tuple[GPT, AdamW]:
    config = GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=16, **SHAPES[name])
    model = GPT(config, rng=1, dtype=np.float64).to("cuda")
    return model, AdamW(model.named_parameters(), lr=0.01, weight_decay=0.1, decay=lambda p: p.ndim >= 2)


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    return [tuple(np.random.default_rng(i).integers(0, V, (2, B, T))) for i in range(STEPS)]


@pytest.mark.parametrize("name", SHAPES)
def test_captured_steps_are_those_of_train_step(cupy, name):
    (plain, update), (captured, own_update) = make(name), make(name)
    rates = [0.01, 0.02, 0.005, 0.01]
    worker = Threads(plain, NextToken(), 1)
    results = [train_step(worker, update, batch, lr=lr, clip=0.5) for batch, lr in zip(batches(), rates)]
    step = CapturedStep(captured, own_update, batches()[0], lr=rates[0], clip=0.5)
    found = [step.losses]
    for batch, lr in zip(batches()[1:], rates[1:]):
        fake_cupy.reset()
        found.append(step(batch, lr))
        assert len(fake_cupy.syncs) <= 1
        assert fake_cupy.launches.count("graph") <= 1
        assert len(fake_cupy.launches) <= 5  # the graph, two arrays of the batch, t and the learning rate
    np.testing.assert_allclose(found, [(r.loss, r.grad_norm) for r in results], rtol=1e-9)
    expected = plain.state_dict() | update.state_dict()
    for key, array in (captured.state_dict() | own_update.state_dict()).items():
        if key != "lr":
            np.testing.assert_allclose(array, expected[key], rtol=1e-7, atol=1e-10, err_msg=key)


def test_a_captured_step_that_is_not_finite_changes_nothing_and_does_not_count(cupy):
    model, update = make("gpt2")
    step = CapturedStep(model, update, batches()[0], lr=0.01)
    weight = next(p.data for name, p in model.named_parameters() if name == "embedding.weight")
    kept = weight[0, 0].copy()
    weight[0, 0] = np.nan
    before = model.state_dict() | update.state_dict()
    batch = tuple(np.zeros((B, T), np.int64) for _ in range(2))  # reads row 0 of the embedding
    loss, norm = step(batch, 0.01)
    assert not np.isfinite(loss)
    for key, array in (model.state_dict() | update.state_dict()).items():
        np.testing.assert_array_equal(array, before[key], err_msg=key)
    weight[0, 0] = kept
    assert np.isfinite(step(batch, 0.01)).all()
    assert update.groups[0].steps[0] == 2


@pytest.mark.parametrize("change", [{"dropout": 0.1}, {"experts": 4}])
def test_what_cannot_be_captured_is_refused(cupy, change):
    config = GPTConfig(vocab_size=V, context=T, layers=1, heads=2, dim=8, **change)
    model = GPT(config, rng=1).to("cuda")
    with pytest.raises(ValueError, match="dropout"):
        CapturedStep(model, AdamW(model.named_parameters()), batches()[0], lr=0.1)


def test_a_batch_of_another_shape_is_refused(cupy):
    model, update = make("gpt2")
    step = CapturedStep(model, update, batches()[0], lr=0.01)
    with pytest.raises(ValueError, match="shape"):
        step(tuple(np.zeros((B, T - 1), np.int64) for _ in range(2)), 0.01)
