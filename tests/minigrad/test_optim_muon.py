"""Newton-Schulz moves singular values only; Muon equals its definition, and torch.optim.Muon within its roundings."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor
from minigrad.nn import Parameter
from minigrad.optim import AdamW, Muon, Together, adamw_reference, muon_reference
from minigrad.optim.orthogonal import EXACT, FAST, POLAR_EXPRESS, Coefficients, newton_schulz, polar_factor
from tests.fake_cupy import installed, no_sync
from tests.minigrad.helpers import seeds
from tests.minigrad.test_optim_parallel import in_slices
from tests.minigrad.tolerances import FLOAT32_SUMS, FLOAT64_QUOTIENTS, FLOAT64_SUMS

shapes = st.lists(st.integers(1, 7), min_size=2, max_size=2).map(tuple)
many = st.lists(st.integers(1, 7), min_size=2, max_size=4).map(tuple)
COEFFICIENTS = {"exact": [EXACT] * 5, "fast": [FAST] * 5, "polar express": list(POLAR_EXPRESS)}
settings_of = st.fixed_dictionaries(
    {
        "lr": st.sampled_from([1e-3, 0.1]),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "momentum": st.sampled_from([0.0, 0.95]),
        "nesterov": st.booleans(),
        "adjust_lr_fn": st.sampled_from(["original", "match_rms_adamw"]),
    }
)


def drawn(shape: tuple[int, ...], seed: int, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("name", COEFFICIENTS)
@given(shape=many, seed=seeds)
def test_only_the_singular_values_change_as_the_polynomial_says(name: str, shape: tuple[int, ...], seed: int) -> None:
    matrix = drawn(shape, seed)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    x = s / np.sqrt((matrix**2).sum((-2, -1)))[..., None]
    for a, b, c in COEFFICIENTS[name]:
        x = a * x + b * x**3 + c * x**5
    np.testing.assert_allclose(newton_schulz(matrix, COEFFICIENTS[name]), (u * x[..., None, :]) @ vt, atol=FLOAT64_SUMS)


@given(shape=many, seed=seeds)
def test_enough_exact_steps_give_the_polar_factor(shape: tuple[int, ...], seed: int) -> None:
    matrix = drawn(shape, seed)
    s = np.linalg.svd(matrix)[1]
    least = (s[..., -1] / np.sqrt((matrix**2).sum((-2, -1)))).min()
    # Below 1/2 a step makes a singular value at least 1.5 times as large; the last ten make 1/2 to 1 exact.
    steps = int(np.ceil(np.log(1 / least) / np.log(1.5))) + 10
    found = newton_schulz(matrix, [EXACT] * steps)
    np.testing.assert_allclose(found, polar_factor(matrix), atol=FLOAT64_QUOTIENTS)


@pytest.mark.parametrize(("coefficients", "low", "high"), [([FAST] * 5, 0.67, 1.14), (POLAR_EXPRESS, 0.85, 1.15)])
def test_five_steps_are_enough_for_singular_values_above_a_hundredth(
    coefficients: list[Coefficients], low: float, high: float
) -> None:
    for s in np.geomspace(0.011, 0.99, 200):
        other = np.sqrt(1 - s * s)  # of norm 1, so that the singular values begin as they are
        _, small = np.sort(np.linalg.svd(newton_schulz(np.diag([s, other]), coefficients))[1])[::-1]
        assert low < small < high


@given(shape=shapes, seed=seeds, dtype=st.sampled_from([np.float32, np.float64]))
def test_zeros_stay_zeros(shape: tuple[int, ...], seed: int, dtype: Any) -> None:
    found = newton_schulz(np.zeros(shape, dtype), [FAST] * 5)
    assert found.dtype == dtype and not found.any()


def run_muon(
    shape: tuple[int, ...], seed: int, dtype: Any, steps: int = 4, kind: Callable = Muon, **settings: Any
) -> np.ndarray:
    parameter = Parameter(drawn(shape, seed, dtype))
    optimizer = kind([parameter], **settings)
    for step in range(1, steps + 1):
        parameter.grad = Tensor(drawn(shape, seed + step, dtype))
        optimizer.step()
    return parameter.numpy()


def run_reference(shape: tuple[int, ...], seed: int, dtype: Any, steps: int = 4, **settings: Any) -> np.ndarray:
    w, buffer = drawn(shape, seed, dtype), np.zeros(shape, dtype)
    for t in range(1, steps + 1):
        w, buffer = muon_reference(w, drawn(shape, seed + t, dtype), buffer, t, **settings)
    return w


@given(shape=shapes, seed=st.integers(0, 2**31), settings=settings_of)
def test_muon_equals_its_definition(shape: tuple[int, ...], seed: int, settings: dict[str, Any]) -> None:
    found = run_muon(shape, seed, np.float64, ns_coefficients=FAST, ns_steps=5, **settings)

    def five_steps(u: np.ndarray) -> np.ndarray:
        return newton_schulz(u, [FAST] * 5)

    np.testing.assert_allclose(
        found, run_reference(shape, seed, np.float64, orthogonal=five_steps, **settings), atol=FLOAT64_SUMS
    )


@given(seed=st.integers(0, 2**31), settings=settings_of)
def test_with_enough_exact_steps_the_polar_factor_itself(seed: int, settings: dict[str, Any]) -> None:
    shape = (3, 9)  # a Gaussian matrix that is far from square has no small singular values
    found = run_muon(shape, seed, np.float64, ns_coefficients=EXACT, ns_steps=60, **settings)
    np.testing.assert_allclose(found, run_reference(shape, seed, np.float64, **settings), atol=FLOAT64_QUOTIENTS)


@given(seed=st.integers(0, 2**31), count=st.integers(1, 4), rows=st.integers(1, 4), columns=st.integers(1, 5))
def test_matrices_in_one_parameter_are_updated_as_if_they_were_alone(
    seed: int, count: int, rows: int, columns: int
) -> None:
    shape = (count, rows, columns)
    whole = drawn(shape, seed), drawn(shape, seed + 1)
    found = [Parameter(whole[0]), Parameter(whole[0].reshape(-1, columns)), *map(Parameter, whole[0])]
    grads = [whole[1], whole[1].reshape(-1, columns), *whole[1]]
    for parameter, grad in zip(found, grads):
        parameter.grad = Tensor(grad)
    Muon(found[:1]).step()
    Muon(found[1:2], rows=lambda p: rows).step()
    Muon(found[2:]).step()
    for parameter in (found[0], found[1]):
        expected = np.stack([p.numpy() for p in found[2:]])
        np.testing.assert_allclose(parameter.numpy().reshape(shape), expected, atol=FLOAT64_SUMS)


@given(seed=st.integers(0, 2**31), scale=st.sampled_from([1e-3, 100.0]))
def test_the_scale_of_the_gradient_does_not_matter(seed: int, scale: float) -> None:
    steps = []
    for factor in (1.0, scale):
        parameter = Parameter(np.zeros((4, 6)))
        parameter.grad = Tensor(factor * drawn((4, 6), seed))
        Muon([parameter], lr=1.0).step()
        steps.append(parameter.numpy())
    np.testing.assert_allclose(*steps, atol=FLOAT64_SUMS)


@given(seed=seeds, fractions=st.lists(st.floats(0, 1), max_size=4))
def test_slices_change_no_bit(seed: int, fractions: list[float]) -> None:
    results = []
    for parallel in ({}, {"parallel": in_slices(*fractions)}):
        rng = np.random.default_rng(seed)
        parameters = [Parameter(rng.standard_normal(s), np.float32) for s in ((3, 4), (4, 2), (2, 5), (3, 3))]
        for p in parameters:
            p.grad = Tensor(rng.standard_normal(p.shape, np.float32))
        Muon(parameters, lr=0.1).step(**parallel)
        results.append([p.data.tobytes() for p in parameters])
    assert results[0] == results[1]


@pytest.mark.control
@pytest.mark.parametrize("wrong", [{"momentum": 0.9}, {"nesterov": False}, {"adjust_lr_fn": "match_rms_adamw"}])
def test_another_rule_is_noticed(wrong: dict[str, Any]) -> None:
    found = run_muon((3, 9), 0, np.float64, ns_coefficients=EXACT, ns_steps=60)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found, run_reference((3, 9), 0, np.float64, **wrong), atol=FLOAT64_QUOTIENTS)


def test_on_the_gpu_the_host_never_waits() -> None:
    grad = drawn((4, 6), 1, np.float32)
    on_cpu = run_muon((4, 6), 0, np.float32, steps=1)
    with installed() as cupy:
        parameter = Parameter(cupy.asarray(drawn((4, 6), 0, np.float32)))
        optimizer, gradient = Muon([parameter]), Tensor(cupy.asarray(grad))
        with no_sync():
            parameter.grad = gradient
            optimizer.step()
        np.testing.assert_allclose(parameter.numpy(), on_cpu, atol=FLOAT32_SUMS)


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@given(shape=shapes, seed=st.integers(0, 2**31), settings=settings_of)
def test_equals_torch_as_far_as_bfloat16_goes(shape: tuple[int, ...], seed: int, settings: dict[str, Any]) -> None:
    import torch

    start, grad = (drawn(shape, seed + i, np.float32) for i in range(2))
    parameter = torch.nn.Parameter(torch.tensor(start))
    parameter.grad = torch.tensor(grad)
    torch.optim.Muon([parameter], **settings).step()
    found, expected = run_muon(shape, seed, np.float32, steps=1, **settings) - start, parameter.detach().numpy() - start
    # torch computes the five steps in bfloat16, which has 8 bits. They amplify small singular values, and their
    # roundings, up to 480 times; so the matrices are compared as a whole.
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected) + 1e-6


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_defaults_are_those_of_torch() -> None:
    import inspect

    import torch

    theirs, ours = (inspect.signature(kind).parameters for kind in (torch.optim.Muon, Muon))
    assert {name: each.default for name, each in theirs.items()} == {name: ours[name].default for name in theirs}


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"parameter scale has shape \(3,\)"):
        Muon([("scale", Parameter(np.zeros(3)))])
    with pytest.raises(ValueError, match="no multiple of 2"):
        Muon([Parameter(np.zeros((3, 3)))], rows=lambda p: 2)
    for wrong in ({"ns_steps": 0}, {"adjust_lr_fn": "none"}, {"ns_coefficients": [(1.0, 2.0)]}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Muon([Parameter(np.zeros((3, 3)))], **wrong)  # type: ignore[arg-type]


# --- together ---------------------------------------------------------------------------------------------------------


def pair(seed: int) -> tuple[dict[str, Parameter], Together]:
    named = {"w": Parameter(drawn((3, 4), seed)), "b": Parameter(drawn((4,), seed + 1))}
    muon, adamw = Muon([("w", named["w"])], lr=0.1), AdamW([("b", named["b"])], lr=0.1)
    return named, Together([muon, adamw], [1.0, 0.5])


def train(named: dict[str, Parameter], optimizer: Together, seed: int, steps: range) -> None:
    for step in steps:
        for i, p in enumerate(named.values()):
            p.grad = Tensor(drawn(p.shape, seed + 10 * step + i))
        optimizer.step(lr=0.2)


@given(seed=st.integers(0, 2**31))
def test_each_parameter_is_updated_by_its_own_optimizer(seed: int) -> None:
    named, optimizer = pair(seed)
    before = {name: p.numpy().copy() for name, p in named.items()}
    train(named, optimizer, seed, range(1))
    adam = adamw_reference(before["b"], drawn((4,), seed + 1), np.zeros(4), np.zeros(4), 1, lr=0.1)[0]
    np.testing.assert_allclose(named["b"].numpy(), adam, atol=FLOAT64_SUMS)
    alone = Parameter(before["w"])
    alone.grad = Tensor(drawn((3, 4), seed))
    Muon([alone], lr=0.2).step()
    np.testing.assert_array_equal(named["w"].numpy(), alone.numpy())


@given(seed=st.integers(0, 2**31))
def test_a_saved_state_continues_to_the_bit(seed: int) -> None:
    named, optimizer = pair(seed)
    train(named, optimizer, seed, range(2))
    again, other = pair(seed + 5)
    for name, p in again.items():
        p.data[...] = named[name].data
    other.load_state_dict(optimizer.state_dict())
    for parameters, each in ((named, optimizer), (again, other)):
        train(parameters, each, seed, range(2, 4))
    assert [p.data.tobytes() for p in named.values()] == [p.data.tobytes() for p in again.values()]


def test_a_parameter_in_two_optimizers_is_refused() -> None:
    with pytest.raises(ValueError, match="two optimizers have a parameter named 0"):
        Together([AdamW([Parameter(np.zeros(2))]), AdamW([Parameter(np.zeros(2))])])
