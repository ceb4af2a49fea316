"""Where ops meet an edge: wrong shapes and the sentence about them, kinks and ties, zeros, infinities, and the accuracy
of erf.
"""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import (
    methods,  # noqa: F401  (attaches the operators)
    ops,
)
from minigrad.autograd import grad
from minigrad.tensor import Tensor
from tests.minigrad.helpers import leaf, seeds
from tests.minigrad.tolerances import FLOAT64_ROUNDINGS, FLOAT64_SUMS


def slope(f: Callable, *inputs: Tensor) -> Any:
    """The gradient of f(*inputs).sum(): a list for one input, else a tuple of lists."""
    found = grad(f(*inputs).sum(), inputs)
    return found[0].numpy().tolist() if len(inputs) == 1 else tuple(g.numpy().tolist() for g in found)


# --- errors -----------------------------------------------------------------------------------------------------------


def zeros(*shape) -> Tensor:
    return Tensor(np.zeros(shape))


# fmt: off
WRONG: list[tuple[Callable, type[Exception], str]] = [
    (lambda: zeros(2, 3) @ zeros(4, 5), ValueError,
     r"matmul of \(2, 3\) and \(4, 5\): the last .* first \(3\).*last but one.*\(4\)"),
    (lambda: zeros(3) @ zeros(4, 5), ValueError,
     r"matmul of \(3,\) and \(4, 5\): the last axis of the first \(3\).*last but one.*\(4\)"),
    (lambda: zeros(2, 3) @ zeros(4), ValueError,
     r"matmul of \(2, 3\) and \(4,\): the last axis of the first \(3\).*only axis.*\(4\)"),
    (lambda: zeros(2, 3, 4) @ zeros(5, 4, 3), ValueError, r"\(2, 3, 4\) and \(5, 4, 3\): the axes before the last two"),
    (lambda: zeros(2) @ 3.0, ValueError,
     r"matmul of \(2,\) and \(\): each needs at least one axis; multiply by a number with \*"),
    (lambda: zeros(2, 3) + zeros(4, 5), ValueError, r"\(2,3\) \(4,5\)"),
    (lambda: zeros(2, 3).reshape(4), ValueError, r"size 6 into shape \(4,\)"),
    (lambda: zeros(2, 3).sum(axis=2), np.exceptions.AxisError, "axis 2 is out of bounds"),
    (lambda: zeros(0, 3).max(), ValueError, r"max of no elements does not exist: the shape is \(0, 3\), axis=None"),
    (lambda: zeros(0, 3).min(axis=0), ValueError, r"min of no elements.*axis=0"),
    (lambda: zeros(0).argmax(), ValueError, "argmax of no elements"),
    (lambda: zeros(0).argmin(), ValueError, "argmin of no elements"),
    (lambda: zeros(5).split(2), ValueError, r"axis 0 of shape \(5,\) cannot be cut into 2 equal parts"),
    (lambda: zeros(5).split(0), ValueError, "into 0 equal parts"),
    (lambda: zeros(3)[3], IndexError, "index 3 is out of bounds for axis 0 with size 3"),
    (lambda: zeros(3)[[0, -4]], IndexError, "index -4 is out of bounds"),
    (lambda: zeros(3).take([3]), IndexError, "index 3 is out of bounds"),
    (lambda: zeros(3).take(0, axis=-2), np.exceptions.AxisError, "axis -2 is out of bounds"),
    (lambda: zeros(3)[0.5], IndexError, "integers"),
    (lambda: zeros(2, 3).take_along_axis([0, 1], 1), ValueError,
     r"as many axes as the tensor, got shapes \(2,\) and \(2, 3\)"),
    (lambda: ops.concatenate([]), ValueError, "at least one array"),
    (lambda: ops.concatenate([zeros(2, 3), zeros(3, 2)]), ValueError, "size 3 and the array at index 1 has size 2"),
    (lambda: ops.clip(zeros(3), leaf(0.0), 1), TypeError, "the bounds are constants.*use maximum and minimum"),
    (lambda: ops.einsum("ij,jk->ik", zeros(2, 3)), ValueError, "'ij,jk->ik' names 2 inputs, but got 1"),
    (lambda: ops.einsum("ii->i", zeros(2, 3)), ValueError, r"\(2, 3\) with one letter in 'ii' must be equally long"),
    (lambda: ops.einsum("ij,jk->ik", zeros(2, 3), zeros(4, 5)), ValueError,
     r"'ij,jk->ik' of shapes \(2, 3\), \(4, 5\) does not work"),
]
# fmt: on


@pytest.mark.parametrize(("call", "error", "sentence"), WRONG)
def test_an_error_is_a_sentence_that_names_what_was_given(
    call: Callable, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


# --- kinks and ties ---------------------------------------------------------------------------------------------------


def test_slopes_at_kinks() -> None:
    assert slope(ops.relu, leaf([-1, 0, 2])) == [0, 0, 1]
    assert slope(ops.abs, leaf([-1, 0, 2])) == [-1, 0, 1]
    assert slope(lambda x: ops.clip(x, -1, 1), leaf([-2, -1, 0, 1, 2])) == [0, 1, 1, 1, 0]
    assert slope(lambda x: ops.clip(x, max=1), leaf([-2, 1, 2])) == [1, 1, 0]


def test_maximum_and_minimum_halve_the_gradient_of_a_tie() -> None:
    assert slope(ops.maximum, leaf([1, 2, 3]), leaf([2, 2, 2])) == ([0, 0.5, 1], [1, 0.5, 0])
    assert slope(ops.minimum, leaf([1, 2, 3]), leaf([2, 2, 2])) == ([1, 0.5, 0], [0, 0.5, 1])
    assert slope(lambda x: ops.maximum(x, 2), leaf([1, 2, 3])) == [0, 0.5, 1]


@pytest.mark.parametrize("keepdims", [False, True])
def test_the_elements_that_tie_for_an_extreme_share_its_gradient(keepdims: bool) -> None:
    x = leaf([[1, 3, 3, 2], [5, 0, 0, 0]])
    assert slope(lambda x: x.max(axis=-1, keepdims=keepdims), x) == [[0, 0.5, 0.5, 0], [1, 0, 0, 0]]
    assert slope(lambda x: x.min(axis=(0, 1), keepdims=keepdims), x) == [[0, 0, 0, 0], [0, 1 / 3, 1 / 3, 1 / 3]]


def test_the_standard_deviation_of_equal_elements_has_slope_0() -> None:
    assert slope(lambda x: x.std(axis=1), leaf([[2, 2, 2], [1, 2, 3]]))[0] == [0, 0, 0]
    assert slope(lambda x: x.std(), leaf(3)) == 0


# --- powers, products, infinities -------------------------------------------------------------------------------------


def test_powers_of_zero() -> None:
    base, exponent = leaf([0, 0, 0, 2]), leaf([0, 1, 2, 0])
    assert (base**exponent).numpy().tolist() == [1, 0, 0, 1]
    assert slope(ops.pow, base, exponent) == ([0, 1, 0, 0], [0, 0, 0, math.log(2)])
    assert slope(lambda y: 0**y, leaf([0, 1, 2])) == [0, 0, 0]
    for n in (0, 0.0):
        assert slope(lambda x, n=n: x**n, leaf([-1, 0, 2])) == [0, 0, 0]
    assert slope(lambda x: x**1, leaf([-1, 0])) == [1, 1]


def test_the_mixed_derivative_of_a_power_where_the_exponent_is_zero() -> None:
    x, y = leaf(2), leaf(0)
    for first, second in ((x, y), (y, x)):
        mixed = grad(grad(x**y, first, create_graph=True), second)
        assert mixed.item() == pytest.approx(1 / 2, rel=FLOAT64_ROUNDINGS)  # d2/dxdy x^y = 1/x at y = 0


@pytest.mark.parametrize("n", range(-20, 21))
@given(seeds)
def test_whole_powers_agree_with_numpy(n: int, seed: int) -> None:
    a = np.random.default_rng(seed).normal(size=10)
    np.testing.assert_allclose((leaf(a) ** n).numpy(), np.power(a, float(n)), rtol=FLOAT64_ROUNDINGS)
    np.testing.assert_allclose(slope(lambda x: x**n, leaf(a)), n * np.power(a, n - 1.0), rtol=FLOAT64_ROUNDINGS)


@given(seeds, st.integers(0, 5), st.integers(1, 9))
def test_prod_with_any_number_of_zeros(seed: int, zeros: int, n: int) -> None:
    a = np.random.default_rng(seed).normal(size=n)
    a[:zeros] = 0
    without = [np.prod(np.delete(a, i)) for i in range(n)]
    np.testing.assert_allclose(slope(ops.prod, leaf(a)), without, rtol=FLOAT64_SUMS)  # another order of products
    twice_without = [[np.prod(np.delete(a, [i, j])) if i != j else 0 for j in range(n)] for i in range(n)]
    x = leaf(a)
    first = grad(x.prod(), x, create_graph=True)
    hessian = [grad(first[i], x, retain_graph=True).numpy() if n > 1 else np.zeros(1) for i in range(n)]
    np.testing.assert_allclose(hessian, twice_without, rtol=FLOAT64_SUMS)


def test_rows_that_are_wholly_masked_give_no_nan() -> None:
    x = leaf([[-np.inf, -np.inf], [0, -np.inf]])
    assert x.logsumexp(axis=1).numpy().tolist() == [-np.inf, 0]
    assert x.softmax().numpy().tolist() == [[0, 0], [1, 0]]
    assert x.log_softmax().numpy().tolist() == [[-np.inf, -np.inf], [0, -np.inf]]
    assert slope(lambda x: x.logsumexp(axis=1), x) == [[0, 0], [1, 0]]
    assert slope(lambda x: x.softmax() * np.array([2.0, 3.0]), x) == [[0, 0], [0, 0]]


@pytest.mark.filterwarnings("error")
def test_large_inputs_overflow_nowhere() -> None:
    x = leaf([1e4, -1e4])
    assert x.logsumexp().item() == 1e4
    assert x.softmax().numpy().tolist() == [1, 0]
    assert x.log_softmax().numpy().tolist() == [0, -2e4]
    assert x.sigmoid().numpy().tolist() == [1, 0]
    assert slope(ops.sigmoid, x) == [0, 0]


def test_small_inputs_keep_their_digits() -> None:
    assert leaf(1e-20).log1p().item() == leaf(1e-20).expm1().item() == 1e-20
    assert leaf(-40).sigmoid().item() == pytest.approx(math.exp(-40), rel=FLOAT64_ROUNDINGS)


# --- erf --------------------------------------------------------------------------------------------------------------


def erf_error(a: np.ndarray) -> float:
    """The largest error of erf, in units in the last place of the result's dtype."""
    values, exact = Tensor(a).erf().numpy(), np.array([math.erf(v) for v in a.tolist()])
    assert values.dtype == a.dtype
    return float(np.max(np.abs(values - exact) / np.spacing(np.abs(exact).astype(a.dtype))))


@given(seeds, st.sampled_from([1e-300, 1e-3, 0.5, 1.0, 4.0, 7.0, 1e3]), st.sampled_from([np.float64, np.float32]))
def test_erf_is_exact_to_a_few_units_in_the_last_place(seed: int, reach: float, dtype: Any) -> None:
    reach = max(reach, float(np.finfo(dtype).tiny) * 1e3)
    a = np.random.default_rng(seed).uniform(-reach, reach, 2000).astype(dtype)
    assert erf_error(a) < 8  # two polynomials by Horner's rule, a quotient, a product: measured 5 and 6.4


def test_erf_at_its_seams_and_ends() -> None:
    seams = np.array([0.46875, 4.0, 6.0])
    assert erf_error(np.concatenate([seams, np.nextafter(seams, 0), np.nextafter(seams, 9)])) < 8
    ends = Tensor(np.array([0.0, -0.0, np.inf, -np.inf, np.nan])).erf().numpy()
    np.testing.assert_array_equal(ends, [0, 0, 1, -1, np.nan])
    assert np.signbit(ends[1])


@pytest.mark.control
def test_a_coarse_erf_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    # Abramowitz and Stegun 7.1.28, good to 3e-7
    coefficients = (0.0000430638, 0.0002765672, 0.0001520143, 0.0092705272, 0.0422820123, 0.0705230784, 1.0)
    monkeypatch.setattr(
        "minigrad.ops.elementwise.erf_array", lambda a: np.copysign(1 - np.polyval(coefficients, np.abs(a)) ** -16, a)
    )
    assert erf_error(np.linspace(-3, 3, 1001)) > 1e6


# --- what peers get wrong ---------------------------------------------------------------------------------------------


def test_max_along_an_axis_then_sum() -> None:
    x = leaf([[1.0, 4.0], [3.0, 2.0]])
    x.max(axis=-1).sum().backward()
    assert x.grad.numpy().tolist() == [[0, 1], [1, 0]]


def test_matrix_times_vector() -> None:
    m, v = leaf([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), leaf([10.0, 100.0])
    (m @ v).sum().backward()
    assert m.grad.numpy().tolist() == [[10, 100]] * 3
    assert v.grad.numpy().tolist() == [9, 12]


@pytest.mark.parametrize(
    "name", ["sum", "mean", "max", "min", "prod", "var", "std", "logsumexp", "exp", "erf", "softmax"]
)
def test_single_numbers_keep_their_dtype(name: str) -> None:
    for dtype in (np.float32, np.float64):
        x = Tensor(np.array(0.5, dtype), requires_grad=True)
        y = getattr(ops, name)(x, axis=None) if name == "softmax" else getattr(ops, name)(x)
        assert (type(y.data), y.shape, y.dtype, grad(y, x).dtype) == (np.ndarray, (), dtype, dtype)


def test_a_product_with_a_constant_frees_its_input() -> None:
    x = leaf([1.0, 2.0])
    between = x.exp() + 1
    alive = weakref.ref(between)
    y = between * 3.0
    gc.disable()  # it shall go at once, not when the garbage collector comes by
    try:
        del between
        assert alive() is None
    finally:
        gc.enable()
    np.testing.assert_allclose(slope(lambda _: y, x), 3 * np.exp([1.0, 2.0]), rtol=FLOAT64_ROUNDINGS)


# --- indexing ---------------------------------------------------------------------------------------------------------


def test_gradients_of_repeated_indices_add_up() -> None:
    ids = np.array([0, 2, 0, 0])
    x = leaf([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    expected = [[3, 3], [0, 0], [1, 1]]
    assert slope(lambda x: x[ids], x) == expected
    assert slope(lambda x: x[Tensor(ids)], x) == expected
    assert slope(lambda x: x[ids.tolist()], x) == expected
    assert slope(lambda x: x.take(ids, axis=0), x) == expected
    assert slope(lambda x: x.take_along_axis(np.zeros((5, 2), int), axis=0), x) == [[5, 5], [0, 0], [0, 0]]


def test_a_basic_index_is_a_view_and_an_array_of_indices_a_copy() -> None:
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    assert np.shares_memory(x[0, None, :].data, x.data)
    assert not np.shares_memory(x[[0, 1]].data, x.data)


# --- methods ----------------------------------------------------------------------------------------------------------


def test_shapes_may_be_given_one_by_one_or_together() -> None:
    x = Tensor(np.zeros((2, 3, 4)))
    assert x.reshape(6, 4).shape == x.reshape((6, 4)).shape == x.reshape(-1, 4).shape == (6, 4)
    assert x.reshape(-1).shape == (24,)
    assert x.transpose(2, 0, 1).shape == x.transpose((2, 0, 1)).shape == x.transpose([-1, 0, 1]).shape == (4, 2, 3)
    assert x.transpose().shape == x.transpose(None).shape == x.T.shape == (4, 3, 2)
    assert Tensor(np.zeros(3)).transpose(0).shape == (3,)


def test_reflected_operators_and_comparisons() -> None:
    x = Tensor(np.array([1.0, 2.0, 4.0]))
    assert (8 - x).numpy().tolist() == [7, 6, 4]
    assert (8 / x).numpy().tolist() == [8, 4, 2]
    assert (2**x).numpy().tolist() == [2, 4, 16]
    assert (np.array([1.0, 1.0, 1.0]) @ x).item() == 7
    assert (x < 2).numpy().tolist() == [True, False, False]
    assert (x >= 2).numpy().tolist() == [False, True, True]
    assert (np.array([3, 3, 3]) > x).numpy().tolist() == [True, True, False]
    assert (x == 2).numpy().tolist() == [False, True, False]
    assert not (leaf([1.0]) > 0).requires_grad
