"""Attention on tensor cores: equal to the definition, with all threads of a block and the barriers between them.

On the stand-in (tests/fake_cupy/cuda_threads_on_cpu.h), and under the mark `gpu` on CuPy. NVRTC, which needs no GPU,
says whether the kernels compile.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad import grad
from minigrad.cuda import flash
from minigrad.fused.attention import attention_reference
from minigrad.fused.functions import attention
from minigrad.tensor import Tensor
from tests import fake_cupy
from tests.minigrad.test_cuda_kernels import compile_errors

ml_dtypes = pytest.importorskip("ml_dtypes")
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
# Of the largest number. The weights and dX are rounded to half types too: two or three roundings of half a last place.
TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2}


def compare(cupy: Any, q: Any, k: Any, v: Any, g: Any, *, layout: str = "C order", scale: float | None = None) -> None:
    """attention(q, k, v) and its gradients on the device are those of the definition in float64."""
    dtype = q.dtype.name
    true = [Tensor(a.astype(np.float64), requires_grad=True) for a in (q, k, v)]
    expected = attention_reference(*true, scale=scale)
    expected_all = [expected, *grad(expected, true, Tensor(g.astype(np.float64)))]
    there = [Tensor(placed(cupy, a, layout), requires_grad=True) for a in (q, k, v)]
    fake_cupy.reset()
    found = attention(*there, scale=scale)
    found_all = [found, *grad(found, there, Tensor(placed(cupy, g, layout)))]
    kernels = [name for name in fake_cupy.launches if name.startswith("flash")]
    if cupy is fake_cupy.cupy:
        assert kernels == ["flash_forward", "flash_delta", "flash_backward"]
    for name, ours, theirs in zip(("y", "dq", "dk", "dv"), found_all, expected_all, strict=True):
        assert ours.dtype == q.dtype
        values = theirs.numpy()
        tolerance = TOLERANCE[dtype] * max(1, abs(values).max())
        np.testing.assert_allclose(ours.numpy().astype(float), values, rtol=0, atol=tolerance, err_msg=name)


def placed(cupy: Any, a: np.ndarray, layout: str) -> Any:
    """On the device, as an array of its own; or as a view of an array in which heads lie between other numbers."""
    if layout == "C order":
        return cupy.asarray(a)
    B, H, T, D = a.shape
    wide = np.zeros((B, T, H + 1, D), a.dtype)
    wide[:, :, :H] = a.transpose(0, 2, 1, 3)
    return cupy.asarray(wide)[:, :, :H].transpose(0, 2, 1, 3)


@settings(max_examples=6, deadline=None)
@given(
    B=st.integers(1, 2),
    heads=st.sampled_from([(1, 1), (2, 1), (3, 3)]),
    T=st.one_of(st.integers(1, 20), st.sampled_from([63, 64, 65, 130])),
    D=st.sampled_from([16, 32, 64]),
    dtype=st.sampled_from(list(DTYPES)),
    layout=st.sampled_from(["C order", "view"]),
    seed=st.integers(0, 2**32),
)
def test_equals_the_definition(cupy, B, heads, T, D, dtype, layout, seed):
    rng, (H, K) = np.random.default_rng(seed), heads
    shapes = (B, H, T, D), (B, K, T, D), (B, K, T, D), (B, H, T, D)
    compare(cupy, *(rng.standard_normal(s).astype(DTYPES[dtype]) for s in shapes), layout=layout)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_several_tiles_and_large_scores(cupy, dtype):
    """The largest score of a row changes from tile to tile, and most weights vanish."""
    rng = np.random.default_rng(0)
    q, k, v, g = (rng.standard_normal((1, 2, 200, 64)).astype(DTYPES[dtype]) for _ in range(4))
    compare(cupy, q, k, v, g, scale=1.0)


def test_without_a_compiler_it_is_said_once_and_attention_is_computed_otherwise(cupy, monkeypatch):
    def refuse(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("nvrtc: error: invalid value for --gpu-architecture\nmore")

    monkeypatch.setattr(cupy, "RawModule", refuse)
    flash._kernels.cache_clear()
    q = cupy.asarray(np.random.default_rng(0).standard_normal((1, 1, 3, 16)).astype(np.float16))
    with pytest.warns(RuntimeWarning, match="does not compile: nvrtc: error: invalid value"):
        assert not flash.fits(q, q, q, q.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not flash.fits(q, q, q, q.dtype)
    flash._kernels.cache_clear()


@pytest.mark.control
def test_a_barrier_that_is_missing_is_found(cupy, monkeypatch):
    """Some threads of a block then read what others have not written yet."""
    if cupy is not fake_cupy.cupy:
        pytest.skip("on a GPU, the threads might be in time")
    module = cupy.RawModule

    def without_barriers(*, code: str, options: tuple) -> Any:
        return module(code=code.replace("__syncthreads();", ""), options=options)

    monkeypatch.setattr(cupy, "RawModule", without_barriers)
    flash._kernels.cache_clear()
    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError):
        compare(cupy, *(rng.standard_normal((1, 1, 70, 16)).astype(np.float16) for _ in range(4)))
    flash._kernels.cache_clear()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head", [pytest.param(16, marks=pytest.mark.slow), 64])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("architecture", [pytest.param("sm_80", marks=pytest.mark.slow), "sm_90"])
def test_the_kernels_compile(architecture, head, dtype, wide):
    code = "".join(path.read_text("utf-8") for path in flash.SOURCES)
    assert compile_errors(code, f"-arch={architecture}", *flash.compiler_options(dtype, head, wide=wide)) == ""
