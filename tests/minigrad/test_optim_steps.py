"""SGD and AdamW equal their definitions, whatever the parameters' shapes, layout and missing gradients."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.cuda.compiler import REALS
from minigrad.nn import Parameter
from minigrad.optim import SGD, AdamW, adamw_reference, blocks, sgd_reference
from minigrad.tensor import Tensor
from tests.fake_cupy import installed, no_sync
from tests.minigrad.tolerances import SUMS

STEPS = 20


def adamw_settings() -> st.SearchStrategy:
    return st.fixed_dictionaries(
        {
            "lr": st.sampled_from([1e-3, 0.1]),
            "betas": st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.8, 0.95)]),
            "eps": st.sampled_from([1e-8, 1e-3]),
            "weight_decay": st.sampled_from([0.0, 0.01, 0.5]),
        }
    )


@st.composite
def sgd_settings(draw: st.DrawFn) -> dict[str, Any]:
    momentum = draw(st.sampled_from([0.0, 0.9]))
    nesterov = momentum > 0 and draw(st.booleans())
    return {
        "lr": draw(st.sampled_from([1e-3, 0.1])),
        "momentum": momentum,
        "nesterov": nesterov,
        "dampening": 0.0 if nesterov else draw(st.sampled_from([0.0, 0.3])),
        "weight_decay": draw(st.sampled_from([0.0, 0.5])),
    }


KINDS = {"AdamW": (AdamW, adamw_reference, 2, adamw_settings()), "SGD": (SGD, sgd_reference, 1, sgd_settings())}


Problem = tuple[list[tuple[int, ...]], int, list[list[bool]]]  # see `problems`


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Shapes of parameters, a seed for their values and gradients, and at which steps which of them has a gradient."""
    shapes = draw(st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=5))
    present = draw(
        st.lists(st.lists(st.booleans(), min_size=STEPS, max_size=STEPS), min_size=len(shapes), max_size=len(shapes))
    )
    return shapes, draw(st.integers(0, 2**32 - 1)), present


def values(shapes: list[tuple[int, ...]], seed: int, dtype: str) -> tuple[list, list]:
    """Initial parameters, and for each step the gradients."""
    rng = np.random.default_rng(seed)
    return (
        [rng.standard_normal(s).astype(dtype) for s in shapes],
        [[rng.standard_normal(s).astype(dtype) for s in shapes] for _ in range(STEPS)],
    )


def run_reference(
    rule: Callable,
    buffers: int,
    problem: Problem,
    dtype: str,
    decays: Callable[[np.ndarray], bool] = lambda p: True,
    **settings,
) -> list:
    shapes, seed, present = problem
    arrays, grads = values(shapes, seed, dtype)
    finals = []
    for i, p in enumerate(arrays):
        own = settings if decays(p) else settings | {"weight_decay": 0.0}
        moments, t = [np.zeros_like(p)] * buffers, 0
        for step in range(STEPS):
            if present[i][step]:
                t += 1
                p, *moments = rule(p, grads[step][i], *moments, t, **own)
        finals.append(p)
    return finals


def run_optimizer(kind: Callable, problem: Problem, dtype: str, **settings) -> list:
    shapes, seed, present = problem
    arrays, grads = values(shapes, seed, dtype)
    parameters = [Parameter(a) for a in arrays]
    optimizer = kind(parameters, **settings)
    for step in range(STEPS):
        optimizer.zero_grad()
        for i, p in enumerate(parameters):
            if present[i][step]:
                p.grad = Tensor(grads[step][i])
        optimizer.step()
    return [p.numpy() for p in parameters]


def assert_equal(found: list, expected: list, dtype: str) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=SUMS[dtype], atol=SUMS[dtype])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", SUMS)
@given(data=st.data(), problem=problems())
def test_equals_reference(kind: str, dtype: str, data: st.DataObject, problem: Problem) -> None:
    optimizer, rule, buffers, settings_of = KINDS[kind]
    settings = data.draw(settings_of)
    assert_equal(
        run_optimizer(optimizer, problem, dtype, **settings),
        run_reference(rule, buffers, problem, dtype, **settings),
        dtype,
    )


@given(problem=problems())
def test_only_chosen_parameters_decay(problem: Problem) -> None:
    def matrices(p: np.ndarray) -> bool:
        return p.ndim >= 2

    found = run_optimizer(AdamW, problem, "float64", weight_decay=0.5, decay=matrices)
    assert_equal(found, run_reference(adamw_reference, 2, problem, "float64", matrices, weight_decay=0.5), "float64")


def l2_instead_of_decoupled(
    p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, weight_decay: float = 0.5
) -> tuple:
    return adamw_reference(p, g + weight_decay * p, m, v, t, weight_decay=0.0)


def without_bias_correction(
    p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, weight_decay: float = 0.5
) -> tuple:
    return adamw_reference(p, g, m, v, 10**6, weight_decay=weight_decay)


def step_counted_for_all(
    p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, weight_decay: float = 0.5
) -> tuple:
    return adamw_reference(p, g, m, v, 2 * t, weight_decay=weight_decay)


@pytest.mark.control
@pytest.mark.parametrize("broken", [l2_instead_of_decoupled, without_bias_correction, step_counted_for_all])
def test_a_broken_adamw_is_caught(broken: Callable) -> None:
    problem = ([(3, 2)], 0, [[True] * STEPS])
    with pytest.raises(AssertionError):
        assert_equal(
            run_optimizer(AdamW, problem, "float64", weight_decay=0.5),
            run_reference(broken, 2, problem, "float64"),
            "float64",
        )


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), problem=problems(), block=st.integers(1, 40))
def test_layout_changes_no_bit(kind: str, data: st.DataObject, problem: Problem, block: int) -> None:
    """Each parameter alone, or all in one array that is cut anywhere: arithmetic on elements does not depend on it."""
    optimizer, _, _, settings_of = KINDS[kind]
    settings = data.draw(settings_of)
    shapes, seed, present = problem
    together = run_optimizer(optimizer, problem, "float32", **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "CPU_BLOCK", block)
        cut = run_optimizer(optimizer, problem, "float32", **settings)
    assert [a.tobytes() for a in cut] == [a.tobytes() for a in together]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), problem=problems())
def test_on_the_gpu_the_host_never_waits_and_nothing_differs(kind: str, data: st.DataObject, problem: Problem) -> None:
    """NumPy's operations give the same bits; a kernel rounds in another way."""
    optimizer, _, _, settings_of = KINDS[kind]
    settings = data.draw(settings_of)
    expected = run_optimizer(optimizer, problem, "float32", **settings)
    with installed() as cupy:
        assert_equal(run_on_gpu(cupy, optimizer, problem, **settings), expected, "float32")
        with mock.patch.dict(REALS, clear=True):
            found = run_on_gpu(cupy, optimizer, problem, **settings)
    assert [a.tobytes() for a in found] == [a.tobytes() for a in expected]


def run_on_gpu(cupy: Any, optimizer: Any, problem: Problem, **settings) -> list[np.ndarray]:
    shapes, seed, present = problem
    arrays, grads = values(shapes, seed, "float32")
    parameters = [Parameter(cupy.asarray(a)) for a in arrays]
    device_grads = [[Tensor(cupy.asarray(g)) for g in step] for step in grads]
    on_gpu = optimizer(parameters, **settings)
    with no_sync():
        for step in range(STEPS):
            on_gpu.zero_grad()
            for i, p in enumerate(parameters):
                p.grad = device_grads[step][i] if present[i][step] else None
            on_gpu.step()
    return [p.numpy() for p in parameters]


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
@given(data=st.data(), problem=problems())
def test_equals_torch(kind: str, dtype: Any, tolerance: float, data: st.DataObject, problem: Problem) -> None:
    import torch

    optimizer, _, _, settings_of = KINDS[kind]
    settings = data.draw(settings_of)
    shapes, seed, present = problem
    arrays, grads = values(shapes, seed, dtype)
    parameters = [torch.nn.Parameter(torch.tensor(a)) for a in arrays]
    peer = getattr(torch.optim, kind)(parameters, **settings)
    for step in range(STEPS):
        for i, p in enumerate(parameters):
            p.grad = torch.tensor(grads[step][i]) if present[i][step] else None
        peer.step()
    for a, b in zip(run_optimizer(optimizer, problem, dtype, **settings), parameters, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_those_of_torch(kind: str) -> None:
    import torch

    peer = getattr(torch.optim, kind)([torch.nn.Parameter(torch.zeros(2))]).defaults
    ours = vars(KINDS[kind][0]([Parameter(np.zeros(2))]))
    shared = [name for name in peer if name in ours]
    assert {"lr", "weight_decay"} <= set(shared)
    assert {name: ours[name] for name in shared} == {name: peer[name] for name in shared}
