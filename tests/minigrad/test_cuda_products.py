"""Products by cublasLt are those of NumPy, for any layout of the arrays, and fall back to CuPy where it refuses.

The library is the stand-in of tests/fake_cupy/cublaslt.py or, under the mark `gpu`, the real one.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.cuda import cublaslt, products
from minigrad.fused.functions import linear
from minigrad.tensor import Tensor
from tests import fake_cupy
from tests.fake_cupy.cublaslt import CublasLt

ml_dtypes = pytest.importorskip("ml_dtypes")
DTYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
# Half a unit in the last place of a result, and for the others the roundings of a sum of some tens of products.
TOLERANCE = {"float32": 1e-5, "float64": 1e-13, "float16": 1e-3, "bfloat16": 8e-3}


def laid_out(cupy: Any, a: np.ndarray, layout: str) -> Any:
    """The array on the device, in one of several orders in memory."""
    if layout == "transposed":
        return cupy.asarray(np.ascontiguousarray(a.swapaxes(-1, -2))).swapaxes(-1, -2)
    if layout == "rows of a wider array":
        wide = np.zeros((*a.shape[:-1], a.shape[-1] + 3), a.dtype)
        wide[..., : a.shape[-1]] = a
        return cupy.asarray(wide)[..., : a.shape[-1]]
    if layout == "every second":
        return cupy.asarray(np.repeat(a, 2, axis=-1))[..., ::2]
    if layout == "heads":  # a view of an array in which the axes before the last are the other way round
        return cupy.asarray(np.ascontiguousarray(a.swapaxes(0, -2))).swapaxes(0, -2)
    return cupy.asarray(a)


LAYOUTS = st.sampled_from(["C order", "transposed", "rows of a wider array", "every second", "heads"])


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    batch=st.sampled_from([(), (3,), (2, 3), (1, 2)]),
    layouts=st.tuples(LAYOUTS, LAYOUTS),
    dtype=st.sampled_from(list(DTYPES)),
    given_out=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_products(cupy, shape, batch, layouts, dtype, given_out, seed):
    (r, k, c), rng = shape, np.random.default_rng(seed)
    a, b = (rng.standard_normal((*batch, *s)).astype(DTYPES[dtype]) for s in ((r, k), (k, c)))
    there = [laid_out(cupy, x, layout) for x, layout in zip((a, b), layouts)]
    out = cupy.zeros((*batch, r, c), DTYPES[dtype]) if given_out else None
    with products.our_products():
        found = products.matmul(*there, out)
    assert out is None or found is out
    close(found, a.astype(np.float64) @ b.astype(np.float64), dtype)


def close(found: Any, expected: np.ndarray, dtype: str) -> None:
    assert found.dtype == DTYPES[dtype]
    np.testing.assert_allclose(
        found.get().astype(np.float64), expected, rtol=0, atol=TOLERANCE[dtype] * max(1, abs(expected).max())
    )


@given(
    n=st.integers(1, 9),
    width=st.integers(1, 9),
    dtype=st.sampled_from(["float16", "bfloat16"]),
    seed=st.integers(0, 2**32),
)
def test_a_linear_map_of_half_types_is_one_launch(cupy, n, width, dtype, seed):
    rng = np.random.default_rng(seed)
    x, w, b = (rng.standard_normal(s).astype(DTYPES[dtype]) for s in ((n, width), (5, width), (5,)))
    tensors = [Tensor(cupy.asarray(a)) for a in (x, w, b)]
    fake_cupy.reset()
    y = linear(*tensors)
    assert fake_cupy.launches in (["cublasLtMatmul"], [])  # none are counted on a GPU
    close(y.data, x.astype(float) @ w.astype(float).T + b.astype(float), dtype)


@given(n=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_a_vector_and_adding_to_what_is_there(cupy, n, width, seed):
    rng = np.random.default_rng(seed)
    ones, a, out = np.ones(n, np.float32), *rng.standard_normal((2, n, width)).astype(np.float32)
    with products.our_products():
        close(products.matmul(cupy.asarray(ones), cupy.asarray(a)), a.sum(0), "float32")
        there = cupy.asarray(out)
        products.add_product(cupy.asarray(np.eye(n, dtype=np.float32)), cupy.asarray(a), there)
        close(there, a + out, "float32")


def refuses(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    """cublasLt is this one; what was said so far is forgotten."""
    monkeypatch.setattr(cublaslt, "plan", cublaslt.plan.__wrapped__)  # without plans of the other one
    monkeypatch.setattr(cublaslt, "_handle", cublaslt._handle.__wrapped__)
    monkeypatch.setattr(cublaslt, "library", library if callable(library) else lambda: library)
    products._warn.cache_clear()


def test_what_cublaslt_refuses_is_computed_by_cupy_and_said_once(cupy, monkeypatch):
    x, w, b = (cupy.asarray(np.ones(s, np.float16)) for s in ((2, 3), (4, 3), (4,)))
    refuses(monkeypatch, CublasLt(refuses=True))
    with pytest.warns(RuntimeWarning, match="cublasLt does less"):
        y = linear(x, w, b)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear(x, w, b)
    np.testing.assert_array_equal(y.numpy(), np.full((2, 4), 4, np.float16))


def test_where_cublaslt_is_missing_cupy_computes(cupy, monkeypatch):
    def missing() -> None:
        raise cublaslt.Failed("libcublasLt was not found")

    refuses(monkeypatch, missing)
    a = cupy.asarray(np.eye(3, dtype=np.float16))
    with pytest.warns(RuntimeWarning, match="was not found"):
        np.testing.assert_array_equal(products.matmul(a, a).get(), np.eye(3))


def test_addresses_of_any_alignment(cupy):
    """Parameters and gradients lie one after another in flat arrays, so anywhere."""
    rng = np.random.default_rng(0)
    for start in range(4):
        flat = [cupy.asarray(rng.standard_normal(70 + start).astype(np.float16))[start:] for _ in range(3)]
        a, b, out = flat[0][:12].reshape(3, 4), flat[1][:20].reshape(4, 5), flat[2][:15].reshape(3, 5)
        expected = a.get().astype(float) @ b.get().astype(float)
        close(products.matmul(a, b, out), expected, "float16")
        bias = flat[2][20:23]
        y = linear(*map(Tensor, (b.T, flat[0][12:24].reshape(3, 4), bias)))
        true = b.get().astype(float).T @ flat[0][12:24].get().astype(float).reshape(3, 4).T + bias.get().astype(float)
        close(y.data, true, "float16")


@pytest.mark.control
def test_a_wrong_leading_dimension_is_found(cupy, monkeypatch):
    original = products._operand

    def wrong(a: Any) -> Any:
        operand = original(a)
        return operand._replace(layout=operand.layout._replace(leading=operand.layout.rows))

    monkeypatch.setattr(products, "_operand", wrong)
    a = cupy.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))[:, :2]
    with products.our_products():
        found = products.matmul(a, cupy.asarray(np.eye(2, dtype=np.float32)))
    assert not np.array_equal(found.get(), a.get())
