"""Slopes and values where finite differences do not help: kinks, ties, zeros, overflow, repeated indices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, grad
from minigrad.gradcheck.choices import Choices
from tests.minigrad.helpers import leaf
from tests.minigrad.strategies import choices

# Nothing may overflow or divide by zero in between.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def slope(f: Callable, values: Any, dtype: Any = np.float64) -> list:
    x = leaf(values, dtype)
    return grad(f(x).sum(), x).numpy().tolist()


@pytest.mark.parametrize(
    ("f", "values", "slopes"),
    [
        (mg.relu, [-1.0, 0.0, 1.0], [0.0, 0.0, 1.0]),
        (mg.abs, [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]),
        (lambda x: mg.reglu(x, mg.full(x.shape, 3.0)), [-1.0, 0.0, 1.0], [0.0, 0.0, 3.0]),
        (mg.relu_squared, [-1.0, 0.0, 1.0], [0.0, 0.0, 2.0]),
        (lambda x: mg.clip(x, -1.0, 1.0), [-2.0, -1.0, 0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 1.0, 0.0]),
        (lambda x: mg.maximum(x, 0.0), [-1.0, 0.0, 1.0], [0.0, 0.5, 1.0]),
        (lambda x: mg.minimum(x, 0.0), [-1.0, 0.0, 1.0], [1.0, 0.5, 0.0]),
        (lambda x: mg.pow(x, 2), [0.0, 3.0], [0.0, 6.0]),
        (lambda x: mg.pow(x, 1), [0.0, 3.0], [1.0, 1.0]),
        (lambda x: mg.pow(x, 0), [0.0, 3.0], [0.0, 0.0]),
        (lambda x: mg.pow(x, Tensor(np.array([0.0, 2.0]))), [0.0, 0.0], [0.0, 0.0]),
        (mg.std, [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]),
    ],
)
def test_slopes_at_kinks(f: Callable, values: list[float], slopes: list[float]) -> None:
    assert slope(f, values) == slopes


def test_equal_elements_share_the_gradient_of_an_extremum() -> None:
    values = [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]
    assert slope(lambda x: x.max(axis=-1), values) == [[0.0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]]
    assert slope(lambda x: x.min(axis=-1), values) == [[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]
    assert slope(lambda x: x.max(), values) == [[0.0, 0.5, 0.5], [0.0, 0.0, 0.0]]
    assert slope(lambda x: x.max(axis=(0, 1), keepdims=True), values) == [[0.0, 0.5, 0.5], [0.0, 0.0, 0.0]]


@given(c=choices())
def test_the_gradients_of_an_extremum_add_up_to_one(c: Choices) -> None:
    x = np.round(c.array(c.shape(1, min_length=1)))
    axis = c.axis(x.ndim)
    for f in (mg.max, mg.min):
        total = np.sum(slope(lambda x, f=f: f(x, axis=axis), x), axis=axis)
        np.testing.assert_allclose(total, 1.0, rtol=1e-15 * x.size)


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_the_slope_of_a_product_with_zeros(zeros: int) -> None:
    values = np.array([2.0, 3.0, 5.0, 7.0])
    values[:zeros] = 0.0
    assert slope(mg.prod, values) == [math.prod(np.delete(values, i)) for i in range(4)]


def test_the_same_element_twice_gets_both_gradients() -> None:
    assert slope(lambda x: x[[0, 0, 2, 0]], [1.0, 2.0, 3.0]) == [3.0, 0.0, 1.0]
    assert slope(lambda x: x[np.array([-1, 2])], [1.0, 2.0, 3.0]) == [0.0, 0.0, 2.0]
    assert slope(lambda x: mg.take(x, [1, 1]), [1.0, 2.0]) == [0.0, 2.0]
    twice = np.array([[0, 0], [1, 1]])
    slopes = slope(lambda x: mg.take_along_axis(x, twice, axis=1), [[1.0, 2.0], [3.0, 4.0]])
    assert slopes == [[2.0, 0.0], [0.0, 2.0]]
    assert slope(lambda x: mg.embedding(np.array([1, 1, 0]), x), [[1.0], [2.0]]) == [[1.0], [2.0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_numbers_do_not_overflow(dtype: Any) -> None:
    big = np.array([-1e4, 0.0, 1e4], dtype)
    x = Tensor(big, requires_grad=True)
    assert mg.sigmoid(x).numpy().tolist() == [0.0, 0.5, 1.0]
    assert mg.tanh(x).numpy().tolist() == [-1.0, 0.0, 1.0]
    assert mg.softmax(x).numpy().tolist() == [0.0, 0.0, 1.0]
    assert mg.log_softmax(x).numpy().tolist() == [-2e4, -1e4, 0.0]
    assert mg.logsumexp(x).item() == 1e4
    assert mg.silu(x).numpy().tolist() == [0.0, 0.0, 1e4]
    assert mg.gelu(Tensor(big * 1e-2)).numpy().tolist() == [0.0, 0.0, 1e2]
    assert mg.cross_entropy(x, np.array(0)).item() == 2e4
    for f in (mg.sigmoid, mg.softmax, mg.log_softmax, mg.logsumexp, mg.silu):
        assert np.isfinite(slope(f, big, dtype)).all()


def test_rows_that_are_masked_completely_are_zero() -> None:
    hidden = [[-np.inf, -np.inf], [0.0, -np.inf]]
    assert mg.softmax(Tensor(hidden)).numpy().tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert slope(mg.softmax, hidden) == [[0.0, 0.0], [0.0, 0.0]]
    assert slope(lambda x: mg.logsumexp(x, axis=-1), hidden) == [[0.0, 0.0], [1.0, 0.0]]


@given(values=st.lists(st.floats(-30, 30), min_size=1, max_size=20))
def test_erf_is_exact_to_double_precision(values: list[float]) -> None:
    """Up to 4 units in the last place, also near 0."""
    received, expected = mg.erf(Tensor(np.array(values))).numpy(), [math.erf(v) for v in values]
    np.testing.assert_allclose(received, expected, rtol=4 * 2.0**-52, atol=5e-324)
