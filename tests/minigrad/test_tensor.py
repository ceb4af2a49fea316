"""The tensor itself: dtypes and promotion, conversions, what it prints and what it refuses."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from minigrad import Tensor, methods, ops
from minigrad import tensor as tensor_module
from minigrad.gradcheck.choices import Choices
from tests.minigrad.helpers import leaf
from tests.minigrad.strategies import choices

# ---- dtypes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("number", [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2)])
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "pow", "maximum"])
def test_numbers_never_promote(op: str, number: Any, dtype: Any) -> None:
    x, f = leaf([1.0, 3.0], dtype), getattr(ops, op)
    for out in (f(x, number), f(number, x)):
        assert out.dtype == dtype
        out.sum().backward()
    assert x.grad.dtype == dtype


def test_float64_stays_float64_without_axes() -> None:
    x = leaf(0.5)
    for out in (x + 1, x * x, -x, x.exp(), x.sum(), x.mean(), x.reshape(()), x**2, x @ x if x.ndim else x):
        assert out.dtype == np.float64
        assert isinstance(out.data, np.ndarray)
        assert out.shape == ()


def test_python_numbers_become_float32_and_arrays_keep_their_dtype() -> None:
    assert Tensor(1.0).dtype == Tensor([1.0, 2.0]).dtype == np.float32
    assert Tensor(np.array(1.0)).dtype == Tensor(np.float64(1.0)).dtype == np.float64
    assert Tensor(np.arange(3)).dtype == np.int64


def test_mixed_dtypes_give_each_parent_a_gradient_of_its_own_dtype() -> None:
    x, y = leaf([1.0, 2.0], np.float32), leaf([[3.0], [4.0]], np.float64)
    out = x * y
    assert out.dtype == np.float64
    out.sum().backward()
    assert (x.grad.dtype, x.grad.shape) == (np.float32, (2,))
    assert (y.grad.dtype, y.grad.shape) == (np.float64, (2, 1))


def test_a_given_gradient_is_cast_to_the_dtype_of_the_result() -> None:
    x = leaf([1.0], np.float32)
    (x * x).backward(grad=np.array([1.0]))
    assert x.grad.dtype == np.float32


# ---- the tensor itself -----------------------------------------------------------------------------------------------


def test_repr_names_shape_dtype_and_origin() -> None:
    x = leaf([1.0, 2.0])
    assert repr(x) == "Tensor([1., 2.], shape=(2,), dtype=float64, requires_grad=True)"
    assert "op=exp" in repr(x.exp())
    assert "..." in repr(Tensor(np.zeros(1000)))


def test_item_numpy_detach_and_len() -> None:
    x = leaf([[1.5]])
    assert x.item() == float(x) == 1.5 and int(x) == 1 and bool(x)
    assert x.numpy() is x.data
    assert not x.detach().requires_grad
    assert x.detach().data is x.data
    assert len(x) == 1
    with pytest.raises(ValueError, match=r"\(2,\)"):
        leaf([1.0, 2.0]).item()


def test_ragged_lists_and_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="rectangular"):
        Tensor([[1.0], [1.0, 2.0]])
    with pytest.raises(TypeError, match="numbers"):
        Tensor([None])


@given(choices())
def test_numpy_arrays_on_the_left_are_left_to_the_tensor(c: Choices) -> None:
    shape = c.shape()
    array, x = c.array(shape), leaf(c.array(shape))
    out = array * x + array
    assert isinstance(out, Tensor)
    assert out.shape == shape


# ---- methods ---------------------------------------------------------------------------------------------------------


def test_the_methods_that_type_checkers_know_are_those_that_are_attached() -> None:
    """So that a misspelt method is an error of types, and an attached one is not."""
    tree = ast.parse(Path(tensor_module.__file__).read_text())
    names = [
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    attached = {*methods.OPERATORS, *(f.__name__ for f in methods.METHODS)} - {"__eq__", "__ne__"}  # those of object
    assert set(names) == attached
    assert len(names) == len(set(names))
