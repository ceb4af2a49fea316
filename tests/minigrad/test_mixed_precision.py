"""Mixed precision: which dtype each product has, the traps of half types, and torch.autocast beside it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.checkpoint import checkpoint
from minigrad.cuda import products
from minigrad.fused.linear_cross_entropy import linear_cross_entropy
from minigrad.fused.low_rank import LowRank, linear_low_rank
from minigrad.nn import Parameter
from minigrad.optim import AdamW
from minigrad.precision import (
    FP16,
    FP32,
    Precision,
    cast_weights,
    current_precision,
    keep_halves,
    precision_named,
    products_in,
)
from minigrad.tensor import Tensor
from tests import fake_cupy

ml_dtypes = pytest.importorskip("ml_dtypes")
BF16 = precision_named("bf16")
BFLOAT16 = BF16.dtype
HALF = pytest.mark.parametrize("precision", [BF16, FP16], ids=["bf16", "fp16"])
EPSILON = {"bfloat16": 2.0**-8, "float16": 2.0**-11}  # the largest relative error of rounding


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rounded(a: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return a.astype(dtype).astype(np.float32)


# --- products ---------------------------------------------------------------------------------------------------------


@HALF
@pytest.mark.parametrize("axes", [(), (2, 3)])
def test_factors_are_rounded_and_the_sum_is_not(precision: Precision, axes: tuple[int, ...]) -> None:
    a, b, dtype = normal(0, *axes, 5, 700), normal(1, *axes, 700, 4), precision.dtype
    found = precision.matmul(a, b)
    exact = rounded(a, dtype).astype(np.float64) @ rounded(b, dtype).astype(np.float64)
    assert found.dtype == np.float32
    # float32 sums of 700 products of size 1. A result in the half type would be off by a hundred times as much.
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-4)
    assert not np.array_equal(found, a @ b), "rounding must be seen"


def test_fp32_is_the_product_as_it_was() -> None:
    a, b, out = normal(0, 5, 7), normal(1, 7, 4), np.empty((5, 4), np.float32)
    assert np.array_equal(FP32.matmul(a, b), a @ b)
    assert FP32.matmul(a, b, out) is out
    assert np.array_equal(out, a @ b)
    assert FP32.factor(a) is a


@HALF
@pytest.mark.parametrize("axes", [(), (2, 3)])
def test_a_gpu_multiplies_arrays_of_the_half_type_without_a_sync(cupy, monkeypatch, precision, axes) -> None:
    a, b, seen = normal(0, *axes, 5, 7), normal(1, *axes, 7, 4), []
    matmul = products.half_product
    monkeypatch.setattr(
        products, "half_product", lambda x, y, *out: seen.append((x.dtype, y.dtype)) or matmul(x, y, *out)
    )
    with fake_cupy.no_sync():
        found = precision.matmul(cupy.asarray(a), cupy.asarray(b))
    assert seen == [(precision.dtype, precision.dtype)]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.get(), precision.matmul(a, b), rtol=2 * EPSILON[precision.dtype.name], atol=1e-3)


@pytest.mark.control
def test_the_stand_in_refuses_what_cupy_refuses(cupy) -> None:
    a = cupy.asarray(normal(0, 2, 3, 3)).astype(BFLOAT16)
    with pytest.raises(TypeError, match="bfloat16"):
        a @ a


# --- low-rank updates and frozen weights ------------------------------------------------------------------------------


@HALF
@given(seed=st.integers(0, 99), scale=st.sampled_from([0.5, 2.0]), has_dropped=st.booleans())
def test_low_rank_updates_are_products_of_halves(
    precision: Precision, seed: int, scale: float, has_dropped: bool
) -> None:
    """As if each product were one of `linear`: with the same bits, because the scale is a power of two."""
    rows, width = slice(2, 7), 9
    arrays = [normal(seed, 5, 6), normal(seed + 1, width, 6), normal(seed + 2, 3, 6), normal(seed + 3, 5, 3)]

    def together(x: Tensor, w: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return linear_low_rank(x, w, None, [LowRank(a, b, rows, scale)], dropped=x * 2 if has_dropped else None)

    def apart(x: Tensor, w: Tensor, a: Tensor, b: Tensor) -> Tensor:
        update = mg.linear(mg.linear(x * 2 if has_dropped else x, a), b * scale)
        zeros = [Tensor(np.zeros((5, n), np.float32)) for n in (rows.start, width - rows.stop)]
        return mg.linear(x, w) + mg.concatenate([zeros[0], update, zeros[1]], axis=-1)

    found = []
    for f in (together, apart):
        leaves = [Tensor(array, requires_grad=True) for array in arrays]
        with products_in(precision):
            y = f(*leaves)
        y.backward(normal(seed + 4, 5, width))
        found.append([y.data, *(leaf.grad.data for leaf in leaves)])
    for one, other in zip(*found):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)
    exact = apart(*map(Tensor, arrays)).data
    # The control: it is rounded, by three products one after the other.
    assert 0 < abs(found[0][0] - exact).max() < 8 * EPSILON[precision.dtype.name] * abs(exact).max()


@HALF
def test_a_frozen_weight_keeps_its_copy_until_its_array_is_another(precision: Precision) -> None:
    frozen, trained = (Parameter(normal(seed, 4, 4)) for seed in (0, 1))
    frozen.requires_grad = False
    keep_halves([frozen, trained])
    assert frozen.half is None, "not before it is needed"
    first = precision.weight(frozen)
    assert precision.weight(frozen) is first and first.dtype == precision.dtype
    assert FP32.weight(frozen) is frozen.data
    assert precision.weight(trained) is not precision.weight(trained), "it will change"
    frozen.convert(lambda a: a + 1)
    assert np.array_equal(precision.weight(frozen), frozen.data.astype(precision.dtype))


# --- the traps --------------------------------------------------------------------------------------------------------


def test_weights_without_masters_stand_still() -> None:
    """1,000 updates of -0.001: a float32 weight goes from 1 to 0, a bfloat16 weight does not move."""
    master, alone = np.ones(1, np.float32), np.ones(1, BFLOAT16)
    for _ in range(1000):
        master -= np.float32(1e-3)
        alone -= BFLOAT16.type(1e-3)
    assert master == pytest.approx(0, abs=1e-4)  # a thousand roundings of float32
    assert alone == 1


def test_sums_of_bfloat16_stand_still_and_those_of_products_do_not() -> None:
    ones = np.ones((1, 4096), np.float32)
    total = BFLOAT16.type(0)
    for one in ones[0].astype(BFLOAT16):
        total = BFLOAT16.type(total + one)
    assert total == 256, "the trap"
    assert BF16.matmul(ones, ones.T) == 4096
    gradient = Parameter(np.zeros((1, 1), np.float32))
    for _ in range(300):
        with products_in(BF16):
            mg.linear(Tensor(np.ones((1, 1), np.float32)), gradient).sum().backward()
    assert gradient.grad.dtype == np.float32 and gradient.grad.item() == 300  # added up in float32


# --- what uses them ---------------------------------------------------------------------------------------------------


def loss_of(x: Tensor, w: list[Parameter], targets: np.ndarray) -> Tensor:
    B, T, C = x.shape
    y = mg.linear(x, w[0], w[1]).reshape(B, T, 3, 2, C // 2)
    q, k, v = (y[:, :, i].swapaxes(1, 2) for i in range(3))
    a = mg.attention(q, k, v).swapaxes(1, 2).reshape(B, T, C)
    return linear_cross_entropy(mg.linear(a, w[2]), w[3], targets)


def parameters() -> list[Parameter]:
    return [Parameter(0.3 * normal(10 + i, *shape)) for i, shape in enumerate([(24, 8), (24,), (8, 8), (11, 8)])]


X, TARGETS = normal(3, 2, 6, 8), np.random.default_rng(4).integers(0, 11, (2, 6))


def gradients(w: list[Parameter]) -> list[np.ndarray]:
    return [p.grad.numpy().copy() for p in w]


@HALF
def test_gradients_follow_the_precision_of_the_forward_pass(precision: Precision) -> None:
    """Inside and outside of the block, with cast copies and without: the same bits. They are near those of float32."""
    results = []
    for inside, cast in ((True, False), (False, False), (True, True)):
        w = parameters()
        flats = [group.flat for group in AdamW(w).groups] if cast else []
        with cast_weights(flats, precision):
            assert all((p.half is not None) == cast for p in w)
            with products_in(precision):
                loss = loss_of(Tensor(X), w, TARGETS)
                if inside:
                    loss.backward()
            if not inside:
                loss.backward()
        assert all(p.half is None for p in w)
        assert all(g.dtype == np.float32 for g in gradients(w))
        results.append(gradients(w))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other))
    w = parameters()
    loss_of(Tensor(X), w, TARGETS).backward()
    for half, full in zip(results[0], gradients(w)):
        assert not np.array_equal(half, full)
        # Several roundings in a row, measured against the largest number.
        np.testing.assert_allclose(half, full, rtol=0, atol=12 * EPSILON[precision.dtype.name] * abs(full).max())


def test_recomputed_layers_keep_their_precision() -> None:
    results = []
    for f in (loss_of, lambda *inputs: checkpoint(loss_of, *inputs)):
        w = parameters()
        with products_in(BF16):
            loss = f(Tensor(X), w, TARGETS)
        loss.backward()  # outside of the block
        results.append(gradients(w))
    assert all(np.array_equal(a, b) for a, b in pairwise(results) for a, b in zip(a, b))


def test_each_thread_has_its_own_precision_and_an_error_ends_it() -> None:
    with products_in(BF16), ThreadPoolExecutor(1) as pool:
        assert current_precision() is BF16
        assert pool.submit(current_precision).result() is FP32
    with pytest.raises(ValueError), products_in(BF16):
        raise ValueError
    assert current_precision() is FP32


@HALF
def test_on_a_gpu_the_same_loss_without_a_sync(cupy, precision: Precision) -> None:
    results = []
    for put in (np.asarray, cupy.asarray):
        w = [Parameter(put(p.numpy())) for p in parameters()]
        flats = [group.flat for group in AdamW(w).groups]
        with fake_cupy.no_sync(), cast_weights(flats, precision), products_in(precision):
            loss = loss_of(Tensor(put(X)), w, put(TARGETS))
            loss.backward()
        results.append([loss.item(), *gradients(w)])
    assert results[0][0] == pytest.approx(results[1][0], rel=4 * EPSILON[precision.dtype.name])
    for on_cpu, on_gpu in zip(results[0][1:], results[1][1:]):
        # The order of sums differs, so some numbers are rounded to a neighbour.
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=0, atol=8 * EPSILON[precision.dtype.name] * abs(on_cpu).max())


@pytest.mark.parity
def test_as_torch_autocast() -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    w = parameters()
    theirs = [torch.tensor(p.numpy(), requires_grad=True) for p in w]
    with products_in(BF16):
        ours = loss_of(Tensor(X), w, TARGETS)
    ours.backward()
    with torch.autocast("cpu", torch.bfloat16):
        y = F.linear(torch.tensor(X), theirs[0], theirs[1]).reshape(2, 6, 3, 2, 4)
        q, k, v = (y[:, :, i].swapaxes(1, 2) for i in range(3))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True).swapaxes(1, 2).reshape(2, 6, 8)
        logits = F.linear(F.linear(a, theirs[2]), theirs[3])
    loss = F.cross_entropy(logits.float().reshape(-1, 11), torch.tensor(TARGETS.reshape(-1)))
    loss.backward()
    # Both round at nearly the same places; torch also keeps the results of products in bfloat16.
    assert ours.item() == pytest.approx(loss.item(), rel=4 * 2.0**-8)
    for p, t in zip(w, theirs):
        assert t.grad.dtype == torch.float32 and p.grad.dtype == np.float32
        np.testing.assert_allclose(p.grad.numpy(), t.grad.numpy(), rtol=0, atol=8 * 2.0**-8 * float(t.grad.abs().max()))


def test_bf16_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    with pytest.raises(RuntimeError, match=r"pip install -e '.\[bf16\]'"):
        precision_named("bf16")
