"""The CUDA kernels against what the fused functions compute without them: on NumPy arrays, and by CuPy's operations.

The kernels run on the stand-in for CuPy (one thread for each block; tests/fake_cupy/kernels.py), and on CuPy itself
under the mark `gpu`. NVRTC, CuPy's compiler, which needs no GPU, says whether they compile for GPUs.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import grad, no_grad, rope_tables
from minigrad.backend import array_module
from minigrad.cuda import compiler
from minigrad.fused.functions import (
    attention,
    cross_entropy,
    geglu,
    gelu,
    layer_norm,
    reglu,
    relu_squared,
    rms_norm,
    rope,
    swiglu,
)
from minigrad.nn.module import Parameter
from minigrad.optim import AdamW, clip_grad_norm, step_if_finite
from minigrad.optim.adamw import adamw_reference
from minigrad.tensor import Tensor
from tests import fake_cupy

# Rows of one warp of threads, of several, and longer than a block of threads.
LENGTHS = st.one_of(st.integers(1, 40), st.sampled_from([255, 512, 700, 2500]))
DTYPES = st.sampled_from([np.float32, np.float64])
HALF = [np.float16, *([] if find_spec("ml_dtypes") is None else [__import__("ml_dtypes").bfloat16])]
# Of the largest number: thousands of roundings, in another order; for half types, several of half a last place.
TOLERANCE = {"float32": 2e-5, "float64": 1e-12, "float16": 4e-3, "bfloat16": 3e-2}


def random_arrays(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [2 * rng.standard_normal(shape) + 1 for shape in shapes]


def loss(z: Tensor, **options: Any) -> Tensor:
    """Cross-entropy with targets of many classes, on the device of the logits."""
    rows, V = z.shape
    return cross_entropy(z, 7 * array_module(z.data).arange(rows) % V, **options)


OF_ROWS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {  # of x (N, C), w (C,) and b (C,)
    # With a small eps, rows of one or two numbers would multiply roundings by 300.
    "layer_norm": lambda x, w, b: layer_norm(x, w, b, eps=0.1),
    "rms_norm": lambda x, w, b: rms_norm(x, w) + b,
    "gelu": lambda x, w, b: gelu(x) * w + b,
    "gelu_tanh": lambda x, w, b: gelu(x, "tanh") * w + b,
    "relu_squared": lambda x, w, b: relu_squared(x) * w + b,
    "swiglu": lambda x, w, b: swiglu(x * w, x + b),
    "geglu": lambda x, w, b: geglu(x * w, x + b),
    "reglu": lambda x, w, b: reglu(x * w, x + b),
    "cross_entropy": lambda x, w, b: loss(x * w + b, label_smoothing=0.1, z_loss=0.01, reduction="none"),
    "mean cross_entropy": lambda x, w, b: loss(x * w + b),
}


@pytest.mark.parametrize("name", OF_ROWS)
@given(rows=st.integers(0, 5), length=LENGTHS, dtype=DTYPES, seed=st.integers(0, 2**32))
def test_functions_of_rows(cupy, name, rows, length, dtype, seed):
    arrays = random_arrays(np.random.default_rng(seed), (rows, length), (length,), (length,))
    check(cupy, OF_ROWS[name], [a.astype(dtype) for a in arrays])


OF_HALF_TYPES = {  # what is launched, forward and backward, beside the sums of columns
    "layer_norm": {"norm_forward", "norm_backward"},
    "rms_norm": {"norm_forward", "norm_backward"},
    "gelu": {"gelu", "gelu_gradient"},
    "gelu_tanh": {"gelu_tanh", "gelu_tanh_gradient"},
    "relu_squared": {"relu_squared", "relu_squared_gradient"},
    "swiglu": {"silu"},
    "mean cross_entropy": {"softmax_loss"},
}


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", OF_HALF_TYPES)
@given(rows=st.integers(1, 5), length=st.integers(2, 300), seed=st.integers(0, 2**32))
def test_functions_of_rows_of_half_types(cupy, name, dtype, rows, length, seed):
    """The kernels read and write half types, and compute in float32."""
    arrays = random_arrays(np.random.default_rng(seed), (rows, length), (length,), (length,))
    arrays = [(a / 2).astype(dtype) for a in arrays]
    fake_cupy.reset()
    check(cupy, OF_ROWS[name], arrays)
    assert OF_HALF_TYPES[name] <= set(fake_cupy.launches) or cupy is not fake_cupy.cupy


@pytest.mark.parametrize("dtype", HALF)
def test_a_norm_and_an_activation_of_half_types_are_a_launch_each(cupy, dtype):
    x, w = (cupy.asarray(np.ones(shape, dtype)) for shape in ((3, 8), 8))
    for f in (lambda: rms_norm(x, w), lambda: layer_norm(x, w, w), lambda: gelu(x)):
        fake_cupy.reset()
        assert f().dtype == dtype
        assert len(fake_cupy.launches) <= 1


@pytest.mark.parametrize("dtype", HALF)
def test_weights_of_float32_are_not_rounded_for_a_norm_of_half_types(cupy, dtype):
    x, w = np.ones((3, 8), dtype), np.full(8, 1.004, np.float32)  # 1.004 is no number of bfloat16
    results = []
    for put in (np.asarray, cupy.asarray):
        inputs = [Tensor(put(a), requires_grad=True) for a in (x, w)]
        y = rms_norm(*inputs)
        results.append([y, *grad(y, inputs, Tensor(put(np.full((3, 8), 256, dtype))))])
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert on_gpu.dtype == on_cpu.dtype
        np.testing.assert_allclose(on_gpu.numpy().astype(float), on_cpu.numpy().astype(float), rtol=1e-5)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("interleaved", [False, True])
def test_rope_of_half_types(cupy, dtype, interleaved):
    """With cos and sin in float32: rounded to the half type, they would turn late positions by another angle."""
    x = np.random.default_rng(0).standard_normal((2, 3, 40, 16)).astype(dtype)
    cos, sin = rope_tables(np.arange(1000, 1040), 16)

    def f(x: Tensor) -> Tensor:
        tables = (cos, sin) if x.device == "cpu" else map(cupy.asarray, (cos, sin))
        return rope(x, *tables, interleaved=interleaved)

    fake_cupy.reset()
    check(cupy, f, [x])
    assert fake_cupy.launches.count("rope") in (2, 0)


@pytest.mark.parametrize("dtype", HALF)
def test_where_kernels_of_half_types_do_not_compile_it_is_said_once(cupy, monkeypatch, dtype):
    def refuse(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("nvrtc: error: invalid value for --gpu-architecture\nmore")

    x, w = (cupy.asarray(np.ones(shape, dtype)) for shape in ((3, 8), 8))
    caches = compiler._module, compiler._kernel, compiler._compiles
    for function in caches:
        function.cache_clear()
    monkeypatch.setattr(cupy, "RawModule", refuse)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        y = [rms_norm(x, w).numpy() for _ in range(2)]
    assert [str(w.message) for w in said if "does not compile: nvrtc" in str(w.message)] == [str(said[0].message)]
    np.testing.assert_array_equal(y[0].astype(float), np.ones((3, 8)))
    for function in caches:
        function.cache_clear()


@pytest.mark.control
@pytest.mark.parametrize("dtype", HALF)
def test_arithmetic_in_the_half_type_is_found(cupy, monkeypatch, dtype):
    """Sums that are rounded to the half type after each addition: they stand still."""
    if cupy is not fake_cupy.cupy:
        pytest.skip("the kernels of a GPU stay as they are")
    code = compiler.source(np.dtype(dtype))
    rounding = code.replace("squares += ", "squares = unpack(pack(squares, 0)), squares += ")
    monkeypatch.setattr(compiler, "source", lambda dtype: rounding)
    for function in (compiler._module, compiler._kernel):
        function.cache_clear()
    arrays = [np.ones(shape, dtype) for shape in ((1, 5000), 5000, 5000)]
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(cupy, OF_ROWS["rms_norm"], arrays)
    for function in (compiler._module, compiler._kernel):
        function.cache_clear()


@given(
    shape=st.tuples(*[st.integers(1, 3)] * 2, st.integers(1, 40)),
    n=st.integers(1, 20),
    unrotated=st.integers(0, 3),
    angles=st.sampled_from(["of a position", "of a text's position", "one"]),
    interleaved=st.booleans(),
    dtype=DTYPES,
    seed=st.integers(0, 2**32),
)
def test_rope(cupy, shape, n, unrotated, angles, interleaved, dtype, seed):
    """Also of views, with features that are not rotated, and with different positions for each text."""
    rng, (B, H, T) = np.random.default_rng(seed), shape
    x = np.asarray(random_arrays(rng, (B, T, H, 2 * n + unrotated))[0], dtype)
    positions = rng.integers(0, 100, {"of a position": T, "of a text's position": (B, 1, T), "one": 1}[angles])
    tables = [a.astype(dtype) for a in rope_tables(positions, 2 * n, dtype=np.float64)]

    def f(x: Tensor) -> Tensor:
        cos, sin = tables if x.device == "cpu" else map(cupy.asarray, tables)
        return rope(x.swapaxes(1, 2), cos, sin, interleaved=interleaved)

    check(cupy, f, [x])


@given(
    B=st.integers(1, 2),
    K=st.integers(1, 2),
    G=st.integers(1, 2),
    T=st.integers(1, 70),
    more=st.sampled_from([0, 1, 600]),
    D=st.sampled_from([1, 8, 20]),
    causal=st.booleans(),
    window=st.none() | st.integers(1, 80),
    masked=st.booleans(),
    soft_cap=st.sampled_from([None, 0.5]),
    dtype=DTYPES,
    seed=st.integers(0, 2**32),
)
def test_attention(cupy, B, K, G, T, more, D, causal, window, masked, soft_cap, dtype, seed):
    rng, S = np.random.default_rng(seed), T + more
    arrays = [a.astype(dtype) / 3 for a in random_arrays(rng, (B, K * G, T, D), (B, K, S, D), (B, K, S, D))]
    mask = None
    if masked:
        mask = rng.random((B, 1, T, S)) < 0.7
        mask[:, :, 0] = False  # a query that sees nothing

    def f(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask_there = mask if mask is None or q.device == "cpu" else cupy.asarray(mask)
        return attention(q, k, v, causal=causal, window=window, mask=mask_there, soft_cap=soft_cap)

    check(cupy, f, arrays)


@given(
    B=st.integers(1, 2),
    K=st.integers(1, 2),
    G=st.integers(1, 2),
    S=LENGTHS,
    window=st.none() | st.integers(1, 80),
    soft_cap=st.sampled_from([None, 0.5]),
    dtype=DTYPES,
    seed=st.integers(0, 2**32),
)
def test_attention_of_a_single_query(cupy, B, K, G, S, window, soft_cap, dtype, seed):
    """Without a gradient: only then it takes the path of its own."""
    arrays = random_arrays(np.random.default_rng(seed), (B, K * G, 1, 8), (B, K, S, 8), (B, K, S, 8))
    arrays = [a.astype(dtype) / 3 for a in arrays]
    with no_grad():
        expected = attention(*(a.astype(np.float64) for a in arrays), window=window, soft_cap=soft_cap).numpy()
        found = attention(*map(cupy.asarray, arrays), window=window, soft_cap=soft_cap).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[found.dtype.name] * abs(expected).max())


def check(cupy: Any, f: Callable, arrays: list[np.ndarray]) -> None:
    """f and its gradients on the device, with kernels and without, are those on the CPU in float64."""
    expected = value_and_gradients(f, [a.astype(np.float64) for a in arrays])
    there = [cupy.asarray(a) for a in arrays]
    with_kernels = value_and_gradients(f, there)
    with patch.dict(compiler.REALS, clear=True):
        without = value_and_gradients(f, there)
    for found in (with_kernels, without):
        for ours, true in zip(found, expected, strict=True):
            assert ours.dtype == arrays[0].dtype
            np.testing.assert_allclose(
                ours.get().astype(np.float64),
                true,
                rtol=0,
                atol=TOLERANCE[ours.dtype.name] * max(1, abs(true).max(initial=0)),
            )


def value_and_gradients(f: Callable, arrays: list[Any]) -> list[Any]:
    inputs = [Tensor(a, requires_grad=True) for a in arrays]
    out = f(*inputs)
    seed = array_module(out.data).asarray(np.cos(np.arange(out.size)).astype(out.dtype)).reshape(out.shape)
    return [out.data, *(g.data for g in grad(out, inputs, Tensor(seed)))]


@given(
    size=st.sampled_from([1, 7, 1000, 300_000]),
    dtype=DTYPES,
    seed=st.integers(0, 2**32),
    decay=st.sampled_from([0.0, 0.3]),
)
def test_adamw(cupy, size, dtype, seed, decay):
    p, *gs = (a.astype(dtype) for a in random_arrays(np.random.default_rng(seed), (size,), (size,), (size,)))
    settings = {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": decay}
    parameter, m, v = Parameter(cupy.asarray(p)), 0.0, 0.0
    optimizer, expected = AdamW([parameter], **settings), p.astype(np.float64)
    for t, g in enumerate(gs, 1):
        expected, m, v = adamw_reference(expected, g.astype(np.float64), m, v, t, **settings)
        parameter.grad = Tensor(cupy.asarray(g))
        optimizer.step()
    np.testing.assert_allclose(parameter.numpy(), expected, rtol=TOLERANCE[p.dtype.name], atol=TOLERANCE[p.dtype.name])


@given(
    sizes=st.lists(st.sampled_from([0, 1, 7, 1000, 300_000]), min_size=1, max_size=3).filter(any),
    exponent=st.integers(-37, 36),
    seed=st.integers(0, 2**32),
)
def test_norm_and_clipping(cupy, sizes, exponent, seed):
    """Also of numbers whose squares are 0 or infinite in float32, which the kernels add in double."""
    rng = np.random.default_rng(seed)
    gradients = [(rng.standard_normal(size) * 10.0**exponent).astype(np.float32) for size in sizes]
    true = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients))
    parameters = [Parameter(cupy.zeros(size, np.float32)) for size in sizes]
    for p, g in zip(parameters, gradients):
        p.grad = Tensor(cupy.asarray(g))
    assert float(clip_grad_norm(parameters, 1.0)) == pytest.approx(true, rel=1e-12)
    for p, g in zip(parameters, gradients):
        # One rounding to float32, and one of numbers below the normal ones.
        np.testing.assert_allclose(p.grad.numpy(), g * min(1, 1 / (true + 1e-6)), rtol=2e-7, atol=1e-44)


BAD = st.sampled_from([np.nan, np.inf, -np.inf])


@given(bad=BAD, at=st.integers(0, 2), seed=st.integers(0, 2**32))
def test_a_step_with_a_number_that_is_not_finite_changes_nothing(cupy, bad, at, seed):
    """Neither parameters nor moments, nor the number of the next step; and the host waits once."""
    p, g = np.random.default_rng(seed).standard_normal((2, 50)).astype(np.float32)
    parameter = Parameter(cupy.asarray(p))
    optimizer = AdamW([parameter], lr=0.1)
    parameter.grad = Tensor(cupy.asarray(g))
    numbers = [1.0, cupy.asarray(2.0), cupy.asarray(3.0)]
    numbers[at] = bad if at == 0 else cupy.asarray(bad)
    before = optimizer.state_dict()
    fake_cupy.reset()
    found = step_if_finite(optimizer, *numbers, lr=0.1)
    assert len(fake_cupy.syncs) <= 1
    np.testing.assert_array_equal(found, [float(x) for x in numbers])
    np.testing.assert_array_equal(parameter.numpy(), p)
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@given(seed=st.integers(0, 2**32))
def test_a_step_with_finite_numbers_is_a_step(cupy, seed):
    p, g = np.random.default_rng(seed).standard_normal((2, 50)).astype(np.float32)
    parameters = [Parameter(cupy.asarray(p)) for _ in range(2)]
    guarded, plain = (AdamW([parameter], lr=0.1) for parameter in parameters)
    for parameter in parameters:
        parameter.grad = Tensor(cupy.asarray(g))
    assert step_if_finite(guarded, cupy.asarray(1.5), lr=0.1) == [1.5]
    plain.step(lr=0.1)
    np.testing.assert_array_equal(parameters[0].numpy(), parameters[1].numpy())
    assert not np.array_equal(parameters[0].numpy(), p)
    assert guarded.groups[0].steps == [1]


def test_targets_out_of_range_wrap_around_as_indices_do(cupy):
    z, targets = cupy.asarray(np.random.default_rng(0).standard_normal((3, 5))), cupy.asarray([0, 2, 4])
    expected = float(cross_entropy(z, targets))
    assert float(cross_entropy(z, targets - 5)) == float(cross_entropy(z, targets + 10)) == expected


@pytest.fixture
def all_threads(cupy, monkeypatch):
    """The kernels run with all threads of their blocks, and with barriers and shuffles, also without a GPU."""
    for function in (compiler._module, compiler._kernel):
        function.cache_clear()
    if cupy is fake_cupy.cupy:
        monkeypatch.setattr(cupy.RawModule, "with_all_threads", True)
    yield
    for function in (compiler._module, compiler._kernel):
        function.cache_clear()


@pytest.mark.parametrize("length", [1, 40, 300, pytest.param(2500, marks=pytest.mark.slow)])
def test_threads_of_a_block_work_together(cupy, all_threads, length):
    """Norms, softmax, the loss and the norm of the gradient: all that adds up something over a row or an array."""
    rng = np.random.default_rng(length)
    for name in ("layer_norm", "rms_norm", "cross_entropy"):
        arrays = random_arrays(rng, (3, length), (length,), (length,))
        check(cupy, OF_ROWS[name], [a.astype(np.float32) for a in arrays])
    q, k, v = (a.astype(np.float32) / 3 for a in random_arrays(rng, *[(1, 1, min(length, 300), 8)] * 3))
    check(cupy, attention, [q, k, v])
    g = rng.standard_normal(100 * length).astype(np.float32)
    p = Parameter(cupy.zeros(g.size, np.float32))
    p.grad = Tensor(cupy.asarray(g))
    assert float(clip_grad_norm([p], np.inf)) == pytest.approx(float(np.linalg.norm(g.astype(float))), rel=1e-12)


@pytest.mark.parametrize("dtype", HALF)
def test_threads_of_a_block_work_together_on_half_types(cupy, all_threads, dtype):
    for name in ("layer_norm", "mean cross_entropy"):
        arrays = random_arrays(np.random.default_rng(0), (3, 300), (300,), (300,))
        check(cupy, OF_ROWS[name], [(a / 2).astype(dtype) for a in arrays])


@pytest.mark.control
def test_a_missing_barrier_between_warps_is_found(cupy, all_threads, monkeypatch):
    if cupy is not fake_cupy.cupy:
        pytest.skip("on a GPU, the threads might be in time")
    module = cupy.RawModule
    without = lambda *, code, options: module(code=code.replace("__syncthreads();", ""), options=options)
    monkeypatch.setattr(cupy, "RawModule", without)
    with pytest.raises(AssertionError):
        test_threads_of_a_block_work_together(cupy, None, 300)


@pytest.mark.control
def test_the_kernels_are_used(cupy):
    """Without them, all of this would compare operations with operations."""
    x, w = (cupy.asarray(np.ones(shape)) for shape in ((2, 3), 3))
    with patch.object(compiler, "_kernel", side_effect=LookupError), pytest.raises(LookupError):
        layer_norm(x, w, w)


# --- compiled for GPUs ------------------------------------------------------------------------------------------------


def nvrtc() -> Any:
    """NVIDIA's run-time compiler, from its package."""
    found = find_spec("nvidia")
    libraries = [
        path
        for folder in (found.submodule_search_locations or [] if found else [])
        for path in Path(folder).glob("*/lib/libnvrtc.so.*")
    ]
    if not libraries:
        pytest.skip("needs CUDA's compiler: pip install nvidia-cuda-nvrtc")
    return ctypes.CDLL(str(libraries[0]))


def compile_errors(source: str, *options: str) -> str:
    """The error messages of NVRTC; none if the source compiles."""
    library, program, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None) == 0
    failed = library.nvrtcCompileProgram(
        program, len(options), (ctypes.c_char_p * len(options))(*map(str.encode, options))
    )
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    return log.value.decode() if failed else ""


@pytest.mark.parametrize("dtype", [np.float32, np.float64, *HALF])
@pytest.mark.parametrize("architecture", [pytest.param("sm_80", marks=pytest.mark.slow), "sm_90"])
def test_the_kernels_compile(architecture, dtype):
    options = f"-arch={architecture}", *compiler.compiler_options(np.dtype(dtype))
    assert compile_errors(compiler.source(np.dtype(dtype)), *options) == ""


@pytest.mark.control
def test_an_error_in_a_kernel_is_found():
    assert "identifier" in compile_errors('extern "C" __global__ void f(float* x) { x[0] = y; }', "-arch=sm_90")
