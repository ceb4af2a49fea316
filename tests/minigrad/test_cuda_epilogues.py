"""What cublasLt does to a product before it is written is what several operations do after it.

The library is the stand-in of tests/fake_cupy/cublaslt.py or, under the mark `gpu`, the real one.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import grad
from minigrad.cuda import cublaslt, products
from minigrad.fused.functions import attention, linear, linear_activation
from minigrad.precision import FP32, precision_named, products_in
from minigrad.tensor import Tensor
from tests import fake_cupy
from tests.fake_cupy.cublaslt import CublasLt
from tests.minigrad.test_cuda_products import refuses

pytest.importorskip("ml_dtypes")
PRECISIONS = {name: precision_named(name) for name in ("fp32", "bf16", "fp16")}
# Of the largest number. Factors are rounded to the same half numbers on CPU and GPU; of a gradient that differs in its
# last digit, a few are rounded to a neighbour.
TOLERANCE = {"fp32": 2e-5, "bf16": 4e-3, "fp16": 1e-3}


def with_gradients(f: Any, arrays: list[Any], precision: Any) -> list[np.ndarray]:
    inputs = [Tensor(a, requires_grad=True) for a in arrays]
    with products_in(precision):
        y = f(*inputs)
    return [y.numpy(), *(g.numpy() for g in grad(y, inputs, Tensor(np.cos(y.data))))]


def check(cupy: Any, f: Any, arrays: list[np.ndarray], name: str) -> list[str]:
    """f and its gradients on the device are those on the CPU; returns what was launched."""
    expected = with_gradients(f, arrays, PRECISIONS[name])
    there = [cupy.asarray(a) for a in arrays]
    fake_cupy.reset()
    with products.our_products() if name == "fp32" else nullcontext():
        found = with_gradients(f, there, PRECISIONS[name])
    launches = list(fake_cupy.launches)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[name] * max(1, abs(theirs).max()))
    return launches


def draw(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


CASES = {
    "n": st.integers(1, 9),
    "width": st.integers(1, 20),
    "out": st.integers(1, 4).map(lambda x: 8 * x),  # the length of a row that gelu takes
    "bias": st.booleans(),
    "name": st.sampled_from(list(PRECISIONS)),
    "seed": st.integers(0, 2**32),
}


@given(**CASES)
def test_gelu_with_its_product(cupy, n, width, out, bias, name, seed):
    arrays = draw(seed, (n, width), (out, width), *[(out,)] * bias)
    launches = check(cupy, lambda *t: linear_activation(*t, activation="gelu_tanh"), arrays, name)
    if cupy is fake_cupy.cupy:
        assert "gelu_tanh" not in launches, "no kernel after the product"
        assert launches.count("gelu_tanh_gradient") == 1
        assert "add" not in launches


@given(**CASES)
def test_a_bias_with_its_product(cupy, n, width, out, bias, name, seed):
    launches = check(cupy, linear, draw(seed, (n, width), (out, width), *[(out,)] * bias), name)
    assert "add" not in launches


@pytest.mark.parametrize("activation", ["gelu", "silu", "geglu_tanh"])
def test_other_activations_stay_what_they_are(cupy, activation):
    """cublasLt has only the tanh form of gelu."""
    launches = check(
        cupy, lambda *t: linear_activation(*t, activation=activation), draw(0, (3, 5), (8, 5), (8,)), "bf16"
    )
    assert "gelu_tanh_gradient" not in launches


@pytest.mark.filterwarnings("ignore:cublasLt does less")  # also said of the products of the backward pass
@pytest.mark.parametrize("out", [8, 9])
def test_what_cublaslt_refuses_is_computed_in_several_operations_and_said(cupy, monkeypatch, out):
    """No algorithm at all; or rows of a length that gelu does not take."""
    if out == 8:
        refuses(monkeypatch, CublasLt(refuses=True))
    products._warn.cache_clear()
    arrays = draw(1, (3, 5), (out, 5), (out,))
    with pytest.warns(RuntimeWarning, match="gelu is computed after its product"):
        check(cupy, lambda *t: linear_activation(*t, activation="gelu_tanh"), arrays, "bf16")


def test_what_cublaslt_refuses_is_not_asked_again(cupy, monkeypatch):
    library = CublasLt(refuses=True)
    refuses(monkeypatch, library)
    monkeypatch.setattr(cublaslt, "plan", cache(cublaslt.plan))
    a = cupy.asarray(np.ones((3, 8), np.float16))
    with pytest.warns(RuntimeWarning, match="no algorithm"):
        products.half_product(a, a.T)
    asked = len(library.objects)
    for _ in range(3):
        np.testing.assert_array_equal(products.half_product(a, a.T).get(), np.full((3, 3), 8))
    assert len(library.objects) == asked > 1


@given(
    heads=st.sampled_from([(1, 1), (2, 1)]),
    T=st.integers(1, 20),
    name=st.sampled_from(["bf16", "fp16"]),
    seed=st.integers(0, 2**32),
)
def test_attention_in_mixed_precision_is_that_of_tensor_cores(cupy, heads, T, name, seed):
    """Its inputs are float32, and become factors once; results and gradients are float32 again."""
    H, K = heads
    arrays = draw(seed, (1, H, T, 16), (1, K, T, 16), (1, K, T, 16))
    expected = with_gradients(attention, arrays, FP32)
    fake_cupy.reset()
    found = with_gradients(attention, [cupy.asarray(a) for a in arrays], PRECISIONS[name])
    if cupy is fake_cupy.cupy:
        assert [x for x in fake_cupy.launches if x != "astype"][0] == "flash_forward"
        # Three factors; the gradient of the result as a factor, in memory as the kernels read it.
        assert sum(x in ("astype", "copy") for x in fake_cupy.launches) <= 4
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        # Factors, weights and gradients are rounded, one after the other.
        atol = {"bf16": 5e-2, "fp16": 6e-3}[name] * max(1, abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


@pytest.mark.control
def test_a_wrong_epilogue_is_found(cupy, monkeypatch):
    """The stand-in does what it was asked to, here without the bias."""
    monkeypatch.setattr(cublaslt, "epilogue", lambda *, bias, gelu: 160 if gelu else 1)
    cublaslt.plan.cache_clear()
    with pytest.raises(AssertionError):
        check(cupy, lambda *t: linear_activation(*t, activation="gelu_tanh"), draw(2, (3, 5), (8, 5), (8,)), "bf16")
    cublaslt.plan.cache_clear()
