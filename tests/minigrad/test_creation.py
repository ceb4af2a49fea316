"""zeros, ones, full and their kin, and `minigrad.tensor`, as a user of PyTorch knows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor
from tests.minigrad.helpers import leaf

shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
dtypes = st.sampled_from([np.float32, np.float64, np.int64, bool])


@given(shapes, dtypes)
def test_a_shape_may_be_given_in_all_forms(shape: tuple, dtype: Any) -> None:
    for make, value in (
        (mg.zeros, 0),
        (mg.ones, 1),
        (lambda *s, dtype: mg.full(s[0] if len(s) == 1 else s, 1, dtype=dtype), 1),
    ):
        for out in (make(*shape, dtype=dtype), make(shape, dtype=dtype), make(list(shape), dtype=dtype),
                    make(np.array(shape, int), dtype=dtype), make(*map(np.int64, shape), dtype=dtype)):  # fmt: skip
            assert (out.shape, out.dtype) == (shape, dtype)
            assert (out.data == value).all()


def test_they_are_float32_leaves_that_may_require_a_gradient() -> None:
    for out in (mg.zeros(2), mg.ones(2, requires_grad=True), mg.full((2,), 2.5)):
        assert out.dtype == np.float32
    x = mg.ones(2, requires_grad=True)
    (x * x).sum().backward()
    assert x.grad.data.tolist() == [2, 2]
    with pytest.raises(TypeError, match="only floating-point"):
        mg.zeros(2, dtype=int, requires_grad=True)


def test_a_number_keeps_its_digits() -> None:
    assert mg.full((), 2**24 + 1, dtype=np.float64).item() == 2**24 + 1
    assert mg.full((), 2**60 + 1, dtype=np.int64).item() == 2**60 + 1


@pytest.mark.parametrize("call", [
    lambda: mg.zeros(-1), lambda: mg.ones((2, -3)), lambda: mg.zeros(2.0), lambda: mg.zeros("a"),
    lambda: mg.full(2, "a"), lambda: mg.zeros((2, 3), np.float64),
    lambda: mg.zeros(2, dtype="foo"), lambda: mg.zeros(2, dtype=complex),
])  # fmt: skip
def test_a_wrong_shape_or_dtype_is_one_sentence(call: Any) -> None:
    with pytest.raises(
        (TypeError, ValueError), match="negative lengths|whole number|numbers, not|is no dtype"
    ) as caught:
        call()
    assert "\n" not in str(caught.value)


@given(shapes, dtypes)
def test_like_another_tensor(shape: tuple, dtype: Any) -> None:
    x = Tensor(np.zeros(shape, dtype))
    for make, value in ((mg.zeros_like, 0), (mg.ones_like, 1)):
        out = make(x)
        assert (out.shape, out.dtype) == (shape, dtype)
        assert (out.data == value).all()
        assert make(x, dtype=np.float64, requires_grad=True).requires_grad


def test_like_another_tensor_on_its_device(cupy: Any) -> None:
    x = Tensor(cupy.asarray(np.zeros(3)))
    assert mg.ones_like(x).device == x.device == mg.zeros(3, device="cuda").device
    assert mg.tensor(x).device == x.device
    assert mg.tensor([1.0], device="cuda", requires_grad=True).device == x.device


def test_minigrad_tensor_copies_its_data_as_in_torch() -> None:
    assert mg.tensor([1.0, 2.0]).dtype == np.float32
    assert mg.tensor(3).dtype == np.int64
    a = np.ones(2)
    x = mg.tensor(a, requires_grad=True)
    a[0] = 5
    assert x.data.tolist() == [1, 1]
    assert mg.tensor(x * 2).node is None
    assert mg.tensor([1, 2], dtype=np.float64).dtype == np.float64


def test_minigrad_tensor_is_the_file_as_well() -> None:
    import minigrad.tensor
    from minigrad import tensor

    assert minigrad.tensor is tensor
    assert tensor.Tensor is Tensor


def test_objects_print_what_they_are_and_no_address() -> None:
    x = leaf([1.0, 2.0])
    with mg.profile() as p:
        y = (x * x).sum()
    for shown in (repr(p), str(p), repr(mg.profile()), repr(y.node), str(y.node), repr(mg.profile)):
        assert " at 0x" not in shown
    assert "mul" in repr(p)
    assert repr(y.node).startswith("Node(")
    assert "sum, shape=()" in repr(y.node)
