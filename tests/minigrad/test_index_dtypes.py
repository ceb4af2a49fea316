"""Indices may have any integer dtype: values and gradients are those that int64 gives, to the bit.

Arithmetic in the dtype of the indices would wrap around: 50,000 times 16 does not fit into uint16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor

INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
ROWS, COLUMNS = 120, 12  # 120 fits into int8, and 120 * 12 does not fit into any dtype of 8 bits

# Each function gets an array (ROWS, COLUMNS) and indices of its rows (4, COLUMNS).
FUNCTIONS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "embedding": lambda x, i: mg.embedding(i, x),
    "embedding_reference": lambda x, i: mg.embedding_reference(i, x),
    "getitem": lambda x, i: x[i],
    "getitem with a slice": lambda x, i: x[i, 2:],
    "take": lambda x, i: mg.take(x, i, axis=0),
    "take of all": lambda x, i: mg.take(x, i),
    "take_along_axis": lambda x, i: mg.take_along_axis(x, i, axis=0),
    "scatter": lambda x, i: mg.scatter(x[: i.size], (i.reshape(-1),), (ROWS, COLUMNS)),
    "cross_entropy": lambda x, i: mg.cross_entropy(x[: i.size].T @ x[: i.size] @ x.T, i[0]),
    "cross_entropy_reference": lambda x, i: mg.cross_entropy_reference(x[: i.size].T @ x[: i.size] @ x.T, i[0]),
    "cross_entropy that ignores": lambda x, i: mg.cross_entropy(x[:COLUMNS] @ x.T, i[0], ignore_index=int(i[0, 0])),
    "linear_cross_entropy": lambda x, i: mg.linear_cross_entropy(x[:COLUMNS], x, i[0]),
    "linear_cross_entropy_reference": lambda x, i: mg.linear_cross_entropy_reference(x[:COLUMNS], x, i[0]),
}


def value_and_gradient(f: Callable, x: np.ndarray, indices: np.ndarray) -> list[np.ndarray]:
    leaf = Tensor(x, requires_grad=True)
    y = f(leaf, indices)
    y.backward(np.cos(np.arange(y.size)).reshape(y.shape))
    return [y.numpy(), leaf.grad.numpy()]


def check_dtype(f: Callable, x: np.ndarray, indices: np.ndarray, dtype: Any) -> None:
    expected = value_and_gradient(f, x, indices.astype(np.int64))
    for received, e in zip(value_and_gradient(f, x, indices.astype(dtype)), expected, strict=True):
        np.testing.assert_array_equal(received, e)


@pytest.mark.parametrize("name", FUNCTIONS)
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(INTEGERS))
def test_every_integer_dtype_reads_and_adds_at_the_same_places(name: str, seed: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    x, indices = rng.standard_normal((ROWS, COLUMNS)), rng.integers(0, ROWS, (4, COLUMNS))
    check_dtype(FUNCTIONS[name], x, indices, dtype)


@pytest.mark.control
def test_arithmetic_in_the_dtype_of_the_indices_is_caught() -> None:
    flat = lambda x, i: mg.take(x, i * np.asarray(COLUMNS, i.dtype))  # the first number of each row
    with pytest.raises((AssertionError, IndexError)):
        check_dtype(flat, np.arange(ROWS * COLUMNS, dtype=float).reshape(ROWS, COLUMNS), np.array([100, 119]), np.uint8)


@given(data=st.data(), dtype=st.sampled_from(INTEGERS))
def test_the_gradient_of_one_id_is_in_its_row(data: st.DataObject, dtype: Any) -> None:
    """For tables of any size, up to the largest id of the dtype."""
    V, C = data.draw(st.integers(1, 70_000)), data.draw(st.integers(1, 16))
    i = data.draw(st.integers(0, min(V - 1, int(np.iinfo(dtype).max))))
    weight = Tensor(np.zeros((V, C), np.float32), requires_grad=True)
    mg.embedding(np.array([i], dtype), weight).sum().backward()
    assert np.flatnonzero(weight.grad.numpy().any(axis=1)).tolist() == [i]
    assert weight.grad.numpy()[i].tolist() == [1.0] * C


@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(INTEGERS))
def test_the_same_with_the_stand_in_for_cupy(seed: int, dtype: Any) -> None:
    from tests.fake_cupy import installed

    rng = np.random.default_rng(seed)
    weight, ids = rng.standard_normal((ROWS, COLUMNS)), rng.integers(0, ROWS, 30)
    expected = value_and_gradient(lambda w, i: mg.linear_cross_entropy(mg.embedding(i, w), w, i), weight, ids)
    with installed() as cupy:
        w, i = Tensor(cupy.asarray(weight), requires_grad=True), cupy.asarray(ids.astype(dtype))
        loss = mg.linear_cross_entropy(mg.embedding(i, w), w, i)
        loss.backward()
        received = [loss.numpy(), w.grad.numpy()]
    for r, e in zip(received, expected, strict=True):
        np.testing.assert_allclose(r, e, rtol=1e-12, atol=1e-12)  # sums in another order
