"""NumPy's functions on tensors: computed here and recorded, left to NumPy, or refused; a gradient is never lost."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, ops
from minigrad.dispatch import HANDLED_FUNCTIONS
from minigrad.gradcheck.catalogue import CATALOGUE
from tests.minigrad.checks import as_tuple, backward, leaves
from tests.minigrad.helpers import leaf
from tests.minigrad.strategies import examples

# The functions of the catalogue under NumPy's names, and how NumPy's arguments are written.
ALIASES = {"sub": "subtract", "mul": "multiply", "div": "divide", "neg": "negative", "pow": "power"}
SHARED = [name for name in CATALOGUE if hasattr(np, ALIASES.get(name, name)) and name not in ("where", "einsum")]


def called_by_numpy(name: str) -> Any:
    """NumPy's function with the signature of the catalogue."""
    function = getattr(np, ALIASES.get(name, name))
    if name in ("concatenate", "stack"):
        return lambda *xs, axis: function(xs, axis=axis)
    if name == "split":
        return lambda x, indices_or_sections, axis: function(x, indices_or_sections, axis)
    if name in ("reshape", "clip", "pow", "astype"):  # by position, because NumPy has other names for them
        return lambda x, *rest, **options: function(x, *rest, *options.values())
    return function


def test_most_functions_have_a_name_in_numpy() -> None:
    assert len(SHARED) > 35


@pytest.mark.parametrize("name", [name for name in SHARED if name != "pad"])
@given(data=st.data())
def test_a_function_of_numpy_is_that_of_minigrad(name: str, data: st.DataObject) -> None:
    example = data.draw(examples(name))
    theirs, ours = called_by_numpy(name), CATALOGUE[name].f
    outs, expected = (as_tuple(f(*leaves(example), **example.options)) for f in (theirs, ours))
    for out, value in zip(outs, expected, strict=True):
        assert isinstance(out, Tensor)
        assert out.node is not None
        np.testing.assert_array_equal(out.data, value.data)
    gradients, expected = (backward(f, example, leaves(example)) for f in (theirs, ours))
    for g, value in zip(gradients, expected, strict=True):
        np.testing.assert_array_equal(g, value)


def test_functions_whose_arguments_are_written_otherwise() -> None:
    x, a = leaf([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 4.0]])
    assert np.pad(x, 1, "constant", constant_values=2.0).data.tolist() == np.pad(a, 1, constant_values=2.0).tolist()
    assert np.clip(x, a_min=2, a_max=3).data.tolist() == np.clip(a, 2, 3).tolist()
    assert np.var(x, axis=0, ddof=1, out=None).data.tolist() == [2, 2]
    assert np.std(x, 0, ddof=0).data.tolist() == [1, 1]
    assert np.where(a > 2, x, 0.0).node.op == "where"
    assert np.einsum("ii", x, optimize=True).item() == 5
    for y in (x[0], x):
        np.testing.assert_array_equal(np.dot(x, y).data, np.dot(a, y.data))
    assert np.dot(x, 2.0).data.tolist() == (2 * a).tolist()
    assert np.square(x).node.op == "mul"
    assert np.power(x, 2).node.op == "pow"
    assert np.ravel(x).shape == (4,)
    assert np.amax(x).item() == 4


@pytest.mark.parametrize("left", [np.ones(2), np.float64(2), np.ones((3, 1))])
def test_an_array_on_the_left_is_left_to_the_tensor(left: Any) -> None:
    for f in (lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a / b, lambda a, b: a**b):
        x = leaf([1.0, 2.0])
        f(left, x).sum().backward()
        y = leaf([1.0, 2.0])
        f(Tensor(left), y).sum().backward()
        np.testing.assert_array_equal(x.grad.data, y.grad.data)


REFUSED = [
    lambda x: np.vstack([x, x]), lambda x: np.hstack([x, x]), lambda x: np.linalg.norm(x), lambda x: np.median(x),
    lambda x: np.floor(x), lambda x: np.outer(x, x), lambda x: np.add.reduce(x), lambda x: np.cumprod(x),
    lambda x: np.histogram(x), lambda x: np.interp(0.5, [0.0, 1.0, 2.0], x), lambda x: np.fft.fft(x),
    lambda x: np.block([[x], [x]]), lambda x: np.linalg.svd(x[None]), lambda x: np.nansum(x),
    lambda x: np.arctan2(x, x), lambda x: np.full_like(x, x),
]  # fmt: skip


@pytest.mark.parametrize("call", REFUSED)
def test_a_function_that_would_lose_the_gradient_is_refused(call: Any) -> None:
    x = leaf([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match=r"np\..* has no gradient.*x\.detach\(\)"):
        call(x)
    for constant in (x.detach(), x.numpy()):
        call(constant)  # without a gradient, NumPy computes it


def test_the_refusal_names_a_function_of_minigrad() -> None:
    with pytest.raises(TypeError, match=r"np\.vstack .* use concatenate or stack instead"):
        np.vstack([leaf([1.0]), leaf([2.0])])
    with pytest.raises(TypeError, match=r"np\.linalg\.norm .* \(x \* x\)\.sum\(\)\.sqrt\(\)"):
        np.linalg.norm(leaf([1.0]))


def test_results_without_a_gradient_come_from_numpy() -> None:
    x = leaf([[1.0, np.nan]])
    assert np.shape(x) == (1, 2)
    assert np.ndim(x) == 2
    assert np.allclose(x, x, equal_nan=True)
    assert np.array_equal(x, [[1.0, np.nan]], equal_nan=True)
    assert np.isinf(x).tolist() == [[False, False]]
    assert np.zeros_like(x).tolist() == [[0, 0]]
    assert np.argsort(x).tolist() == [[0, 1]]
    np.testing.assert_array_equal(x, x.numpy())


def test_an_option_of_numpy_that_is_missing_here_is_named() -> None:
    x = leaf([1.0])
    assert np.sum(x, out=None, dtype=None).item() == 1
    with pytest.raises(TypeError, match=r"np\.sum of a tensor takes no 'dtype', only x, axis, keepdims"):
        np.sum(x, dtype=np.float32)
    with pytest.raises(TypeError, match="'reflect'"):
        np.pad(x, 1, "reflect")
    with pytest.raises(TypeError, match=r"np\.einsum of a tensor takes no 'dtype', only subscripts, optimize"):
        np.einsum("i", x, dtype=float)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "cumsum", "prod"])
def test_a_dtype_in_third_place_is_refused_unless_it_is_the_default(name: str) -> None:
    """It is the third argument of NumPy's functions, but not of those of minigrad."""
    x = leaf([1.0, 2.0])
    assert getattr(np, name)(x, 0, None).node.op == name
    with pytest.raises(TypeError, match=rf"np\.{name} of a tensor takes x, axis by position"):
        getattr(np, name)(x, 0, np.float32)


def test_an_array_is_not_written_to() -> None:
    a, x = np.zeros(2), leaf([1.0, 2.0])
    with pytest.raises(TypeError, match="cannot write a tensor into an array"):
        a += x
    with pytest.raises(TypeError, match="cannot write a tensor into an array"):
        np.add.at(a, [0, 1], x)
    assert a.tolist() == [0, 0]


def test_an_option_that_is_not_given_has_the_value_that_numpy_gives_it() -> None:
    compared = 0
    for theirs, ours in HANDLED_FUNCTIONS.items():
        if isinstance(theirs, np.ufunc) or theirs is np.where:  # they have no defaults
            continue
        expected = {name: p.default for name, p in inspect.signature(theirs).parameters.items()}
        for name, parameter in inspect.signature(ours).parameters.items():
            if expected.get(name, np._NoValue) not in (np._NoValue, inspect.Parameter.empty):
                assert parameter.default == expected[name], f"{theirs.__name__}: {name}"
                compared += 1
    assert compared > 20


def test_every_function_with_a_name_of_numpy_is_dispatched() -> None:
    """So that a new operation is not forgotten."""
    missing = {name for name in ops.__all__ if hasattr(np, name) and getattr(np, name) not in HANDLED_FUNCTIONS}
    assert missing == set()
    assert HANDLED_FUNCTIONS[np.exp] is mg.exp
