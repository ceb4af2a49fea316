"""Where finite differences cannot look: kinks, ties, poles, overflow, the same element twice. What is taken there,
docstrings state.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, grad
from tests.minigrad.strategies import choices

pytestmark = pytest.mark.filterwarnings(
    "error::RuntimeWarning"
)  # nothing here may overflow or divide by zero on the way


def slope(f, values, dtype=np.float64):
    x = Tensor(np.array(values, dtype), requires_grad=True)
    return grad(f(x).sum(), x).numpy().tolist()


@pytest.mark.parametrize(
    ("f", "values", "slopes"),
    [
        (mg.relu, [-1.0, 0.0, 1.0], [0.0, 0.0, 1.0]),
        (mg.abs, [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]),
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
def test_slopes_at_kinks(f, values, slopes):
    assert slope(f, values) == slopes


def test_elements_that_tie_share_the_gradient():
    values = [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]
    assert slope(lambda x: x.max(axis=-1), values) == [[0.0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]]
    assert slope(lambda x: x.min(axis=-1), values) == [[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]
    assert slope(lambda x: x.max(), values) == [[0.0, 0.5, 0.5], [0.0, 0.0, 0.0]]
    assert slope(lambda x: x.max(axis=(0, 1), keepdims=True), values) == [[0.0, 0.5, 0.5], [0.0, 0.0, 0.0]]


@given(choices())
def test_the_gradient_of_an_extremum_adds_up_to_one_with_ties(c):
    x = np.round(c.array(c.shape(1, least=1)))
    axis = c.axis(x.ndim)
    for f in (mg.max, mg.min):
        np.testing.assert_allclose(
            np.sum(slope(lambda x, f=f: f(x, axis=axis), x), axis=axis), 1.0, rtol=1e-15 * x.size
        )


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_the_slope_of_a_product_with_zeros(zeros):
    values = np.array([2.0, 3.0, 5.0, 7.0])
    values[:zeros] = 0.0
    assert slope(mg.prod, values) == [math.prod(np.delete(values, i)) for i in range(4)]


def test_the_same_element_twice_gets_both_gradients():
    assert slope(lambda x: x[[0, 0, 2, 0]], [1.0, 2.0, 3.0]) == [3.0, 0.0, 1.0]
    assert slope(lambda x: x[np.array([-1, 2])], [1.0, 2.0, 3.0]) == [0.0, 0.0, 2.0]
    assert slope(lambda x: mg.take(x, [1, 1]), [1.0, 2.0]) == [0.0, 2.0]
    assert slope(lambda x: mg.take_along_axis(x, np.array([[0, 0], [1, 1]]), axis=1), [[1.0, 2.0], [3.0, 4.0]]) == [
        [2.0, 0.0],
        [0.0, 2.0],
    ]
    assert slope(lambda x: mg.embedding(np.array([1, 1, 0]), x), [[1.0], [2.0]]) == [[1.0], [2.0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_numbers_do_not_overflow(dtype):
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


def test_rows_that_are_masked_altogether_count_nothing():
    hidden = [[-np.inf, -np.inf], [0.0, -np.inf]]
    assert mg.softmax(Tensor(hidden)).numpy().tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert slope(mg.softmax, hidden) == [[0.0, 0.0], [0.0, 0.0]]
    assert slope(lambda x: mg.logsumexp(x, axis=-1), hidden) == [[0.0, 0.0], [1.0, 0.0]]


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=20))
def test_erf_is_exact_to_double_precision(values):
    """4 units in the last place, also relatively near 0."""
    np.testing.assert_allclose(
        mg.erf(Tensor(np.array(values))).numpy(), [math.erf(v) for v in values], rtol=4 * 2.0**-52, atol=5e-324
    )
