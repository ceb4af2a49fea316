"""The stand-in for CuPy computes what NumPy computes: values, dtypes, shapes, and which calls fail."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_cupy import cupy as cp
from tests.fake_cupy import ufuncs

small = st.floats(-4, 4, width=16)
floats = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements=small,
)
integers = hnp.arrays(
    st.sampled_from([np.bool_, np.int8, np.int64, np.uint16]), hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)
)
out_of_range = hnp.arrays(np.int64, (2, 1), elements=st.integers(-30, 30))


def device(host: np.ndarray) -> cp.ndarray:
    return cp.asarray(host)


def same(ours: cp.ndarray, host: np.ndarray) -> bool:
    """An array of the device with the values, shape and dtype of `host`."""
    assert isinstance(ours, cp.ndarray)
    return (
        ours.dtype == host.dtype
        and ours.shape == np.shape(host)
        and np.array_equal(ours.get(), host, equal_nan=host.dtype.kind == "f")
    )


def outcome(function: Callable, *args: Any) -> Any:
    """The result of a call, or the type of its error. NumPy and the stand-in must agree in both."""
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        try:
            return function(*args)
        except (TypeError, ValueError) as error:
            return type(error)


def assert_agree(ours: Any, host: Any) -> None:
    if isinstance(host, (tuple, list)):
        assert len(ours) == len(host)
        assert all(map(same, ours, host))
    else:
        assert ours is host if isinstance(host, type) else same(ours, host)


@given(data=st.data(), name=st.sampled_from(ufuncs.NAMES.split()), x=st.one_of(floats, integers))
def test_ufuncs_equal_those_of_numpy(data: st.DataObject, name: str, x: np.ndarray) -> None:
    function = getattr(np, name)
    values = [x.T, 2, -1.5, True, np.float32(0.5), np.int64(3)]
    others = data.draw(st.lists(st.sampled_from(values), min_size=function.nin - 1, max_size=function.nin - 1))
    on_device = [device(y) if isinstance(y, np.ndarray) else y for y in others]
    assert_agree(outcome(function, device(x), *on_device), outcome(function, x, *others))


# fmt: off
REDUCTIONS = ["sum", "prod", "max", "min", "mean", "var", "std", "all", "any", "argmax", "argmin", "cumsum", "cumprod",
              "count_nonzero"]
# fmt: on


@given(data=st.data(), name=st.sampled_from(REDUCTIONS), x=st.one_of(floats, integers))
def test_reductions_equal_those_of_numpy_over_any_axis(data: st.DataObject, name: str, x: np.ndarray) -> None:
    options = {"axis": data.draw(st.one_of(st.none(), st.integers(-x.ndim - 1, x.ndim)))}
    if name not in ("cumsum", "cumprod", "count_nonzero"):
        options["keepdims"] = data.draw(st.booleans())
    reduce = lambda a: getattr(np, name)(a, **options)
    assert_agree(outcome(reduce, device(x)), outcome(reduce, x))


MANIPULATION = {
    "reshape": lambda xp, a: xp.reshape(a, (-1, 2)),
    "transpose": lambda xp, a: xp.transpose(a, (1, 0, 2)),
    "T": lambda xp, a: a.T,
    "swapaxes": lambda xp, a: a.swapaxes(0, -1),
    "expand_dims": lambda xp, a: xp.expand_dims(a, (0, 2)),
    "squeeze": lambda xp, a: xp.squeeze(a[:, :1], 1),
    "broadcast_to": lambda xp, a: xp.broadcast_to(a, (2, *a.shape)),
    "concatenate": lambda xp, a: xp.concatenate([a, a], axis=1),
    "stack": lambda xp, a: xp.stack((a, a), axis=-1),
    "split": lambda xp, a: xp.split(a, [1, 2], axis=1),
    "flip": lambda xp, a: xp.flip(a, (0, 2)),
    "roll": lambda xp, a: xp.roll(a, -1, axis=1),
    "pad": lambda xp, a: xp.pad(a, ((1, 0), (0, 0), (0, 2))),
    "tril": lambda xp, a: xp.tril(a, 1),
    "triu": lambda xp, a: xp.triu(a, -1),
    "diagonal": lambda xp, a: xp.diagonal(a, 1, 0, 1),
    "repeat": lambda xp, a: xp.repeat(a, 2, axis=0),
    "tile": lambda xp, a: xp.tile(a, (1, 2, 1)),
    "moveaxis": lambda xp, a: xp.moveaxis(a, 0, 2),
    "clip": lambda xp, a: xp.clip(a, -1, None),
    "sort": lambda xp, a: xp.sort(a, axis=1),
    "argsort": lambda xp, a: xp.argsort(a, axis=1, kind="stable"),
    "partition": lambda xp, a: xp.partition(a, 1),
    "where": lambda xp, a: xp.where(a > 0, a, 0.0),
    "einsum": lambda xp, a: xp.einsum("abc,abd->acd", a, a),
    "matmul": lambda xp, a: a @ a.swapaxes(1, 2),
    "tensordot": lambda xp, a: xp.tensordot(a, a, axes=([0, 1], [0, 1])),
    "astype": lambda xp, a: a.astype(np.float16),
    "view": lambda xp, a: a.view(np.int32),
    "flatten": lambda xp, a: a.flatten(),
    "arange": lambda xp, a: xp.arange(2, 8, 3),
    "full": lambda xp, a: xp.full((2, 1), 3, np.float32),
    "eye": lambda xp, a: xp.eye(3, 4, 1),
    "linspace": lambda xp, a: xp.linspace(0, 1, 5),
    "ones_like": lambda xp, a: xp.ones_like(a, dtype=np.int64),
    "slice": lambda xp, a: a[..., ::-1, None, 0],
    "isclose": lambda xp, a: xp.isclose(a, a + 1e-9),
    "outer": lambda xp, a: xp.outer(a[0, 0], a[1, 0]),
}


@pytest.mark.parametrize("name", MANIPULATION)
@given(x=hnp.arrays(np.float32, (2, 3, 4), elements=small))
def test_manipulation_and_creation_equal_those_of_numpy(name: str, x: np.ndarray) -> None:
    assert_agree(MANIPULATION[name](cp, device(x)), MANIPULATION[name](np, x))


INDEXING = {  # a call with indices out of range, and what it must mean
    "one": (lambda a, i, j: a[i], lambda x, i, j: x[i % 3]),
    "two": (lambda a, i, j: a[i, j], lambda x, i, j: x[i % 3, j % 4]),
    "two apart": (lambda a, i, j: a[i, :, j], lambda x, i, j: x[i % 3, :, j % 2]),
    "after an ellipsis": (lambda a, i, j: a[..., i, None], lambda x, i, j: x[..., i % 2, None]),
    "take": (lambda a, i, j: np.take(a, j, axis=1), lambda x, i, j: x[:, j % 4]),
    "take of all": (lambda a, i, j: np.take(a, j), lambda x, i, j: x.ravel()[j % x.size]),
    "take_along_axis": (
        lambda a, i, j: np.take_along_axis(a, i[None], 1),
        lambda x, i, j: np.take_along_axis(x, i[None] % 4, 1),
    ),
}


@pytest.mark.parametrize("name", INDEXING)
@given(x=hnp.arrays(np.float32, (3, 4, 2), elements=small), i=out_of_range, j=out_of_range)
def test_indexing_wraps_around(name: str, x: np.ndarray, i: np.ndarray, j: np.ndarray) -> None:
    call, meaning = INDEXING[name]
    assert same(call(device(x), device(i), device(j)), meaning(x, i, j))


@given(rows=hnp.arrays(np.int64, 5, elements=st.integers(-9, 9)))
def test_scatter_adds_up_repeated_and_wrapped_indices(rows: np.ndarray) -> None:
    host, a = np.zeros((3, 2), np.float32), cp.zeros((3, 2), np.float32)
    np.add.at(host, rows % 3, np.ones((5, 2), np.float32))
    np.add.at(a, device(rows), cp.ones((5, 2), np.float32))
    assert same(a, host)


def test_assignment_writes_through_views_and_wraps_around() -> None:
    a = cp.zeros((2, 3), np.float32)
    a[1][...] = 5.0
    a[:, 0] = cp.ones(2, np.float32)
    a[cp.asarray([2]), cp.asarray([4])] = 7.0
    a += 1
    assert same(a, np.array([[2, 8, 1], [2, 6, 6]], np.float32))


def test_results_are_arrays_never_scalars() -> None:
    a = device(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert a.sum().shape == a[0, 0].shape == np.max(a).shape == ()
    assert (a.sum() * a.astype(np.float64)).dtype == np.float64
    assert (a * 2.5).dtype == np.float32
