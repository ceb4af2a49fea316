"""Clipping by the global norm: the norm is right and the direction stays; gradients that are not finite and arrays of
the caller do not change.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad.nn import Parameter
from minigrad.optim import SGD, AdamW, clip_grad_norm
from minigrad.tensor import Tensor
from tests.fake_cupy import installed, no_sync
from tests.minigrad.helpers import seeds
from tests.minigrad.tolerances import FLOAT32_SUMS, FLOAT64_SUMS

shapes = st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=5)
norms = st.floats(0.01, 100.0)


def with_gradients(shapes: list[tuple[int, ...]], seed: int, dtype: Any = np.float64) -> list[Parameter]:
    """Parameters, about a third of which have no gradient."""
    rng = np.random.default_rng(seed)
    parameters = [Parameter(np.zeros(shape, dtype)) for shape in shapes]
    for p in parameters:
        p.grad = Tensor(rng.standard_normal(p.shape).astype(dtype)) if rng.random() < 0.7 else None
    return parameters


def flat_gradient(parameters: list[Parameter]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(p.grad.numpy().ravel() for p in parameters if p.grad is not None)])


def check_clipped(before: np.ndarray, after: np.ndarray, max_norm: float) -> None:
    """The same direction, at most max_norm long, and untouched if it was no longer. (The 1e-6 in the factor shortens a
    little.)
    """
    length = np.linalg.norm(before)
    np.testing.assert_allclose(after, before * min(1.0, max_norm / (length + 1e-6)), rtol=FLOAT64_SUMS)
    assert np.linalg.norm(after) <= max_norm * (1 + FLOAT64_SUMS)


@pytest.mark.parametrize("source", [list, SGD], ids=["parameters", "optimizer"])
@given(shapes=shapes, seed=seeds, max_norm=norms)
def test_norm_and_direction(source: Callable, shapes: list[tuple[int, ...]], seed: int, max_norm: float) -> None:
    parameters = with_gradients(shapes, seed)
    before = flat_gradient(parameters)
    norm = clip_grad_norm(source(parameters), max_norm)
    assert (norm.shape, norm.dtype) == ((), np.float64)
    assert float(norm) == pytest.approx(np.linalg.norm(before), rel=FLOAT64_SUMS)
    check_clipped(before, flat_gradient(parameters), max_norm)


@pytest.mark.control
def test_clipping_each_gradient_by_its_own_norm_is_caught() -> None:
    parameters = with_gradients([(3,), (4,), (2, 2)], 1)
    before = flat_gradient(parameters)
    for p in parameters:
        clip_grad_norm([p], 0.5)
    with pytest.raises(AssertionError):
        check_clipped(before, flat_gradient(parameters), 0.5)


@pytest.mark.parametrize("source", [list, SGD], ids=["parameters", "optimizer"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_norm_that_is_not_finite_leaves_the_gradients(source: Callable, bad: float) -> None:
    parameters = [Parameter(np.zeros(3)), Parameter(np.zeros(2))]
    parameters[0].grad, parameters[1].grad = Tensor(np.array([3.0, bad, 1.0])), Tensor(np.array([1e3, 2e3]))
    before = flat_gradient(parameters)
    assert not np.isfinite(float(clip_grad_norm(source(parameters), 1.0)))
    np.testing.assert_array_equal(flat_gradient(parameters), before)


def test_infinite_max_norm_only_measures() -> None:
    parameters = with_gradients([(3, 4)], 2)
    before = flat_gradient(parameters)
    assert float(clip_grad_norm(parameters, np.inf)) == pytest.approx(np.linalg.norm(before))
    np.testing.assert_array_equal(flat_gradient(parameters), before)


def test_a_gradient_that_two_parameters_share_is_scaled_once_for_each() -> None:
    x, y = Parameter(np.ones(2)), Parameter(np.ones(2))
    (3 * (x + y)).sum().backward(create_graph=True)  # both are given the same array
    clip_grad_norm([x, y], 0.6)
    np.testing.assert_allclose(flat_gradient([x, y]), np.full(4, 0.3), rtol=1e-6)


def test_the_users_array_is_not_written() -> None:
    p, array = Parameter(np.zeros(3)), np.full(3, 10.0)
    p.grad = Tensor(array)
    clip_grad_norm([p], 1.0)
    np.testing.assert_array_equal(array, np.full(3, 10.0))


def test_no_gradients_have_norm_zero() -> None:
    assert float(clip_grad_norm([Parameter(np.zeros(3))], 1.0)) == 0.0


def test_float32_norm_of_many_elements() -> None:
    """Equal squares, whose roundings do not cancel. Added up in float32 alone the norm is off by 1e-2, by BLAS still by
    3e-4.
    """
    p = Parameter(np.zeros(3_000_000, np.float32))
    p.grad = Tensor(np.full(p.shape, 0.1, np.float32))
    assert float(clip_grad_norm([p], np.inf)) == pytest.approx(
        float(np.float32(0.1)) * 3_000_000**0.5, rel=FLOAT32_SUMS
    )


def check_extreme(source: Callable, dtype: Any, seed: int, exponent: int, *, mixed: bool) -> None:
    """The norm, and the gradients after clipping to 1, are those of numbers of ordinary size times 10^exponent."""
    rng = np.random.default_rng(seed)
    ordinary = [rng.standard_normal(n) for n in (5, 1, 300_000)]  # the last one has more than one block
    if mixed:  # some blocks are of ordinary size, and hardly count beside the others
        ordinary[2][:270_000] *= 10.0 ** -abs(exponent)
    parameters = [Parameter(np.zeros(len(a), dtype)) for a in ordinary]
    for p, a in zip(parameters, ordinary):
        p.grad = Tensor((a * 10.0**exponent).astype(dtype))
    before = [p.grad.numpy().astype(np.longdouble) for p in parameters]
    exact = np.sqrt(sum((a * a).sum() for a in before))
    norm = float(clip_grad_norm(source(parameters), 1.0))
    tolerance = FLOAT64_SUMS if dtype == np.float64 else FLOAT32_SUMS
    assert norm == pytest.approx(float(exact), rel=tolerance)
    factor = min(np.longdouble(1), 1 / (exact + np.longdouble(1e-6)))
    for p, a in zip(parameters, before):
        np.testing.assert_allclose(p.grad.numpy().astype(np.longdouble), a * factor, rtol=2 * tolerance, atol=1e-44)


@pytest.mark.parametrize("source", [list, SGD], ids=["parameters", "optimizer"])
@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 37), (np.float64, 300)])
@settings(max_examples=8)  # of 300,000 numbers each
@given(seed=seeds, data=st.data(), mixed=st.booleans())
def test_huge_and_tiny_gradients_have_a_norm_and_are_clipped(
    source: Callable, dtype: Any, limit: int, seed: int, data: st.DataObject, mixed: bool
) -> None:
    """Their squares would be infinite, or 0."""
    check_extreme(source, dtype, seed, data.draw(st.integers(-limit, limit)), mixed=mixed)


def test_the_largest_gradients_are_clipped_with_all_their_digits() -> None:
    """The factor, 1e-41, is below the normal numbers of float32."""
    check_extreme(SGD, np.float32, 0, 37, mixed=False)
    p = Parameter(np.zeros(250_000, np.float32))
    p.grad = Tensor(np.full(p.shape, 3e38, np.float32))
    clip_grad_norm([p], 1.0)
    np.testing.assert_allclose(p.grad.numpy(), np.full(p.shape, 1 / 500), rtol=1e-6)


def test_a_huge_gradient_does_not_end_training() -> None:
    """Unclipped, its square would make AdamW's second moment infinite for good."""
    p = Parameter(np.zeros(2, np.float32))
    optimizer = AdamW([p], lr=0.1)
    p.grad = Tensor(np.array([1e20, -1e20], np.float32))
    clip_grad_norm(optimizer, 1.0)
    optimizer.step()
    np.testing.assert_allclose(p.numpy(), [-0.1, 0.1], rtol=1e-6)


@given(seed=seeds, exponent=st.integers(-37, 37))
def test_on_the_gpu_huge_and_tiny_gradients_have_the_same_norm(seed: int, exponent: int) -> None:
    gradient = (np.random.default_rng(seed).standard_normal(50) * 10.0**exponent).astype(np.float32)
    with installed() as cupy:
        p = Parameter(cupy.zeros(50, np.float32))
        p.grad = Tensor(cupy.asarray(gradient))
        norm = float(clip_grad_norm([p], 1.0))
    assert norm == pytest.approx(float(np.linalg.norm(gradient.astype(np.float64))), rel=FLOAT32_SUMS)


@given(shapes=shapes, seed=seeds, max_norm=norms)
def test_on_the_gpu_the_host_never_waits(shapes: list[tuple[int, ...]], seed: int, max_norm: float) -> None:
    on_cpu = with_gradients(shapes, seed)
    with installed() as cupy:
        on_gpu = [Parameter(cupy.asarray(p.data)) for p in on_cpu]
        for p, q in zip(on_gpu, on_cpu):
            p.grad = None if q.grad is None else Tensor(cupy.asarray(q.grad.data))
        optimizer = SGD(on_gpu)
        with no_sync():
            norm = clip_grad_norm(optimizer, max_norm)
        found, length = flat_gradient(on_gpu), float(norm)
    assert length == pytest.approx(float(clip_grad_norm(SGD(on_cpu), max_norm)), rel=FLOAT64_SUMS)
    np.testing.assert_allclose(found, flat_gradient(on_cpu), rtol=FLOAT64_SUMS)


@pytest.mark.parametrize("max_norm", [0, -1.0, float("nan")])
def test_impossible_max_norm_is_refused(max_norm: float) -> None:
    with pytest.raises(ValueError, match="max_norm"):
        clip_grad_norm([Parameter(np.zeros(3))], max_norm)


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@given(shapes=shapes, seed=seeds, max_norm=norms)
def test_equals_torch(shapes: list[tuple[int, ...]], seed: int, max_norm: float) -> None:
    import torch

    parameters = with_gradients(shapes, seed)
    peers = [torch.nn.Parameter(torch.tensor(p.numpy())) for p in parameters]
    for p, peer in zip(parameters, peers):
        peer.grad = None if p.grad is None else torch.tensor(p.grad.numpy())
    norm = torch.nn.utils.clip_grad_norm_(peers, max_norm)
    assert float(clip_grad_norm(SGD(parameters), max_norm)) == pytest.approx(float(norm), rel=FLOAT64_SUMS)
    for p, peer in zip(parameters, peers):
        if p.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), peer.grad.numpy(), rtol=FLOAT64_SUMS)
