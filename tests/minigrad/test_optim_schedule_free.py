"""AdamW without a schedule equals its formulas and the package of its authors; the average is evaluated and saved."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor
from minigrad.nn import Parameter
from minigrad.optim import ScheduleFreeAdamW
from tests.minigrad.helpers import seeds
from tests.minigrad.test_optim_parallel import in_slices
from tests.minigrad.tolerances import FLOAT64_SUMS

shapes = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=3)
settings_of = st.fixed_dictionaries(
    {
        "betas": st.sampled_from([(0.9, 0.999), (0.5, 0.9)]),
        "eps": st.sampled_from([1e-8, 1e-3]),
        "weight_decay": st.sampled_from([0.0, 0.5]),
    }
)
rates = st.lists(st.sampled_from([0.0, 1e-3, 0.01, 0.1]), min_size=1, max_size=6)  # the learning rate of each step


def drawn(shapes: list[tuple[int, ...]], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def train(parameters: list[Parameter], optimizer: ScheduleFreeAdamW, lrs: list[float], seed: int) -> None:
    for step, lr in enumerate(lrs, 1):
        for p, g in zip(parameters, drawn([p.shape for p in parameters], seed + step)):
            p.grad = Tensor(g)
        optimizer.step(lr=lr)


def reference(start: np.ndarray, grads: list[np.ndarray], lrs: list[float], **settings: Any) -> tuple:
    """The formulas at the top of the file, as they stand there: y and x after all steps."""
    (beta1, beta2), z, x, v, weights = settings["betas"], start, start, np.zeros_like(start), 0.0
    for t, (g, lr) in enumerate(zip(grads, lrs), 1):
        y = (1 - beta1) * z + beta1 * x
        v = beta2 * v + (1 - beta2) * g**2
        z = z - lr * (g / (np.sqrt(v / (1 - beta2**t)) + settings["eps"]) + settings["weight_decay"] * y)
        weight = max(lrs[:t]) ** 2
        weights += weight
        c = weight / weights if weights else 0.0
        x = (1 - c) * x + c * z
    return (1 - beta1) * z + beta1 * x, x


@given(shapes, seeds, rates, settings_of)
def test_equals_its_formulas(shapes: list, seed: int, lrs: list[float], settings: dict[str, Any]) -> None:
    start = drawn(shapes, seed)
    parameters = [Parameter(a) for a in start]
    optimizer = ScheduleFreeAdamW(parameters, **settings)
    train(parameters, optimizer, lrs, seed)
    grads = [drawn(shapes, seed + step) for step in range(1, len(lrs) + 1)]
    expected = [reference(a, [g[i] for g in grads], lrs, **settings) for i, a in enumerate(start)]
    for p, (y, _) in zip(parameters, expected):
        np.testing.assert_allclose(p.numpy(), y, rtol=FLOAT64_SUMS, atol=FLOAT64_SUMS)
    with optimizer.averaged():
        for p, (_, x) in zip(parameters, expected):
            np.testing.assert_allclose(p.numpy(), x, rtol=FLOAT64_SUMS, atol=FLOAT64_SUMS)


@pytest.mark.control
def test_another_formula_is_noticed() -> None:
    settings = {"betas": (0.5, 0.9), "eps": 1e-8, "weight_decay": 0.5}
    start, lrs = drawn([(3,)], 0)[0], [0.1, 0.1, 0.05]
    parameter = Parameter(start)
    train([parameter], ScheduleFreeAdamW([parameter], **settings), lrs, 0)
    grads = [drawn([(3,)], step)[0] for step in range(1, 4)]
    for wrong in ({"betas": (0.6, 0.9)}, {"weight_decay": 0.4}, {"eps": 0.1}):
        assert np.abs(reference(start, grads, lrs, **settings | wrong)[0] - parameter.numpy()).max() > 1e-4


@given(seeds, rates, st.lists(st.floats(0, 1), max_size=3))
def test_slices_change_no_bit(seed: int, lrs: list[float], fractions: list[float]) -> None:
    results = []
    for parallel in ({}, {"parallel": in_slices(*fractions)}):
        parameter = Parameter(drawn([(50,)], seed)[0])
        optimizer = ScheduleFreeAdamW([parameter])
        for step, lr in enumerate(lrs):
            parameter.grad = Tensor(drawn([(50,)], seed + step)[0])
            optimizer.step(lr=lr, **parallel)
        results.append(parameter.data.tobytes())
    assert results[0] == results[1]


@given(shapes, seeds, rates, rates)
def test_saved_with_the_average_it_continues_to_the_bit(shapes: list, seed: int, lrs: list, more: list) -> None:
    """What is saved are the averaged weights, as a run does it; looking at them does not change training."""
    parameters = [Parameter(a) for a in drawn(shapes, seed)]
    optimizer = ScheduleFreeAdamW(parameters, weight_decay=0.1)
    train(parameters, optimizer, lrs, seed)
    before = [p.data.tobytes() for p in parameters]
    with optimizer.averaged():
        state, weights = optimizer.state_dict(), [p.numpy().copy() for p in parameters]
    assert [p.data.tobytes() for p in parameters] == before
    again = [Parameter(np.zeros_like(w)) for w in weights]
    other = ScheduleFreeAdamW(again, weight_decay=0.1)
    for p, w in zip(again, weights):
        p.data[...] = w
    other.load_state_dict(state)
    for each, chosen in ((parameters, optimizer), (again, other)):
        train(each, chosen, more, seed + 100)
    assert [p.data.tobytes() for p in parameters] == [p.data.tobytes() for p in again]


def test_weights_that_are_loaded_after_the_optimizer_is_made_count() -> None:
    parameter = Parameter(np.zeros(3))
    optimizer = ScheduleFreeAdamW([parameter])
    parameter.data[...] = 5.0
    with optimizer.averaged():
        assert (parameter.numpy() == 5.0).all()
    assert (parameter.numpy() == 5.0).all()


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("schedulefree") is None, reason="needs schedulefree")
@given(shapes, seeds, settings_of, st.integers(1, 6))
def test_equals_the_package(shapes: list, seed: int, settings: dict[str, Any], steps: int) -> None:
    import schedulefree
    import torch

    ours = [Parameter(a) for a in drawn(shapes, seed)]
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in drawn(shapes, seed)]
    optimizer, peer = ScheduleFreeAdamW(ours, **settings), schedulefree.AdamWScheduleFree(theirs, **settings)
    peer.train()
    for step in range(1, steps + 1):
        for p, g in zip(theirs, drawn(shapes, seed + step)):
            p.grad = torch.tensor(g)
        peer.step()
    train(ours, optimizer, [0.0025] * steps, seed)
    compare(ours, theirs)
    peer.eval()
    with optimizer.averaged():
        compare(ours, theirs)


def compare(ours: list[Parameter], theirs: list) -> None:
    # Their average is computed back from the other two, which loses a digit.
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=10 * FLOAT64_SUMS, atol=10 * FLOAT64_SUMS)
