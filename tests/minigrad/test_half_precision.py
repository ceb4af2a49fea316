"""float16 and bfloat16: computed in float32 and rounded at the end, so no sum, count or exponential leaves their range.

And numbers never promote: not beside an array of these dtypes, and a NumPy scalar not beside float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, grad
from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.gradcheck.choices import Example
from tests.minigrad import checks
from tests.minigrad.helpers import leaf, seeds
from tests.minigrad.strategies import examples

try:
    from ml_dtypes import bfloat16
except ImportError:
    bfloat16 = None
needs_bfloat16 = pytest.mark.skipif(bfloat16 is None, reason="needs ml_dtypes")
HALF = [np.float16, pytest.param(bfloat16, marks=needs_bfloat16)]
# Half a unit in the last place, relative: of 11 and of 8 significant bits
ROUNDING = {np.float16: 2.0**-11, bfloat16: 2.0**-8, np.float32: 2.0**-24}


def value_and_gradient(f: Callable, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For a gradient of f(x) that is different for each element, in eighths."""
    x = Tensor(a, requires_grad=True)
    y = f(x)
    return y.numpy(), grad(y, x, (1 + np.arange(y.size) % 7 / 8).reshape(y.shape).astype(y.dtype)).numpy()


def check_rounded(f: Callable, a: np.ndarray, dtype: Any, roundings: int = 2) -> None:
    """Value and gradient are those of float64, apart from a few roundings of the largest number among them."""
    pairs = zip(value_and_gradient(f, a), value_and_gradient(f, a.astype(np.float64)), strict=True)
    for received, exact in pairs:
        assert received.dtype == dtype
        # 2^-20: what is left of 1 - 1 in float32, for numbers up to 20. (The smallest float16 is 2^-24.)
        atol = roundings * (ROUNDING[dtype] * np.abs(exact).max() + 2.0**-20)
        np.testing.assert_allclose(received.astype(np.float64), exact, rtol=0, atol=atol)


# --- single numbers ---------------------------------------------------------------------------------------------------

CURVES: dict[str, Callable] = {
    "erf": mg.erf,
    "gelu": mg.gelu,
    "gelu_reference": mg.gelu_reference,
    "gelu, tanh": lambda x: mg.gelu(x, "tanh"),
    "gelu_reference, tanh": lambda x: mg.gelu_reference(x, "tanh"),
    "silu": mg.silu,
    "silu_reference": mg.silu_reference,
    "relu_squared": mg.relu_squared,
}


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", CURVES)
@given(value=st.floats(-20, 20))
def test_curves_are_rounded_once(name: str, dtype: Any, value: float) -> None:
    check_rounded(CURVES[name], np.array([value]).astype(dtype), dtype)


def test_erf_and_gelu_of_ordinary_numbers() -> None:
    """Cody's coefficients, up to 3,439, leave the range of float16 from x = 2 on."""
    x = Tensor(np.array([2, 3, 5, -5, 60_000], np.float16))
    expected = np.array([math.erf(v) for v in x.numpy()], np.float16)
    assert mg.erf(x).numpy().tolist() == expected.tolist()
    assert mg.gelu_reference(x).numpy()[[1, 2, 4]].tolist() == mg.gelu(x).numpy()[[1, 2, 4]].tolist()


# --- many numbers -----------------------------------------------------------------------------------------------------

N = 70_000  # more than the largest float16, 65,504
LONG: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(axis=0),
    "var": lambda x: x.var(axis=0),
    "std": lambda x: x.std(axis=0),
    "max": lambda x: x.max(axis=0),
    "min": lambda x: x.min(axis=0),
    "logsumexp": lambda x: mg.logsumexp(x, axis=0),
    "softmax": lambda x: mg.softmax(x, axis=0),
    "log_softmax": lambda x: mg.log_softmax(x, axis=0),
    "layer_norm": lambda x: mg.layer_norm(x.T),
    "layer_norm_reference": lambda x: mg.layer_norm_reference(x.T),
    "rms_norm_reference": lambda x: mg.rms_norm_reference(x.T * 512),  # the squares are infinite in float16
    "cross_entropy": lambda x: mg.cross_entropy(x.T, np.array([3])),
    "cross_entropy_reference": lambda x: mg.cross_entropy_reference(x.T, np.array([3])),
    "the mean of many losses": lambda x: mg.cross_entropy(mg.concatenate([x, x + 1], 1), np.zeros(N, int)),
}


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_reductions_of_many_numbers_stay_in_range(name: str, dtype: Any, spread: float) -> None:
    rng = np.random.default_rng(1)
    a = (1 + spread * rng.random((N, 1))).astype(dtype)
    # The gradients of logarithms are computed from the rounded results, which are near 12.
    check_rounded(LONG[name], a, dtype, roundings=50 if name.startswith("log") else 4)


@pytest.mark.parametrize("dtype", HALF)
def test_sums_products_and_running_sums_are_added_in_float32(dtype: Any) -> None:
    ones = np.ones((5000, 2), dtype)
    assert mg.sum(Tensor(ones), axis=0).numpy().tolist() == [float(dtype(5000))] * 2
    assert mg.cumsum(Tensor(ones), axis=0).numpy()[-1].tolist() == [float(dtype(5000))] * 2
    x = Tensor(np.array([300, 300, 0.001], dtype), requires_grad=True)
    assert math.isclose(mg.prod(x).item(), 90, rel_tol=8 * ROUNDING[dtype])
    bias = Tensor(np.zeros(2, dtype), requires_grad=True)
    assert (
        grad((Tensor(ones) + bias).sum(axis=1)[:5000].astype(np.float32).sum(), bias).numpy().tolist()
        == [float(dtype(5000))] * 2
    )


@pytest.mark.parity
def test_long_reductions_equal_torch() -> None:
    torch = pytest.importorskip("torch")
    a = (30 + np.random.default_rng(0).standard_normal(20_000)).astype(np.float16)
    x = torch.tensor(a)
    for ours, theirs in (
        (mg.var(Tensor(a)), x.var(correction=0)),
        (mg.std(Tensor(a)), x.std(correction=0)),
        (mg.mean(Tensor(a)), x.mean()),
    ):
        assert ours.item() == pytest.approx(theirs.item(), rel=4 * ROUNDING[np.float16])


# --- attention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALF)
@given(seed=seeds, low=st.floats(0, 40), options=st.sampled_from([{}, {"causal": False}, {"window": 3}]))
def test_ragged_attention_far_below_the_largest_score(dtype: Any, seed: int, low: float, options: dict) -> None:
    """The scores of one query lie `low` below those of another in its block."""
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((1, 2, 6, 8)) for _ in range(3))
    bias = np.zeros((1, 1, 6, 1))
    bias[..., 2, :] = -low
    inputs = [a.astype(dtype) for a in (q, k, v, bias)]
    for f in (mg.attention, mg.attention_reference):
        xs, exact = [leaf(a, dtype) for a in inputs], [leaf(a.astype(np.float64)) for a in inputs]
        outs = [f(*t[:3], bias=t[3], **options) for t in (xs, exact)]
        pairs = [tuple(outs), *zip(grad(outs[0].sum(), xs), grad(outs[1].sum(), exact))]
        for received, expected in pairs:
            assert received.dtype == dtype
            # two roundings of numbers whose sums are of size 1 to 10
            np.testing.assert_allclose(
                received.numpy().astype(np.float64),
                expected.numpy(),
                rtol=4 * ROUNDING[dtype],
                atol=4 * ROUNDING[dtype],
            )


@pytest.mark.parametrize("dtype", HALF)
def test_attention_of_one_query_keeps_the_dtype(dtype: Any) -> None:
    q, k = (Tensor(np.ones((1, 1, t, 4), dtype)) for t in (1, 5))
    assert mg.attention(q, k, k).dtype == dtype


# --- dtypes -----------------------------------------------------------------------------------------------------------


def cast(example: Example, dtype: Any) -> Example:
    """The same call in another dtype, with NumPy scalars in place of Python floats."""
    example = checks.cast(example, dtype)
    options = {key: np.float64(v) if type(v) is float else v for key, v in example.options.items()}
    return Example(example.inputs, options)


@pytest.mark.parametrize("dtype", [*HALF, np.float32])
@pytest.mark.parametrize("name", CATALOGUE)
@given(data=st.data())
def test_every_function_keeps_the_dtype(name: str, dtype: Any, data: st.DataObject) -> None:
    entry = CATALOGUE[name]
    example = cast(data.draw(examples(name)), dtype)
    for f in (entry.f, entry.reference) if entry.reference else (entry.f,):
        xs = checks.leaves(example)
        for out in checks.as_tuple(f(*xs, **example.options)):
            assert out.dtype == dtype, f"{out.dtype} of {np.dtype(dtype)}"
            out.backward(np.ones(out.shape, out.dtype), retain_graph=True)
        assert all(x.grad is None or x.grad.dtype == dtype for x in xs)


BINARY: dict[str, Callable[[Any, Any], Tensor]] = {
    "add": mg.add,
    "sub": mg.sub,
    "mul": mg.mul,
    "div": mg.div,
    "pow": mg.pow,
    "maximum": mg.maximum,
    "minimum": mg.minimum,
    "where": lambda x, y: mg.where(np.array([True, False]), x, y),
    "clip": lambda x, y: mg.clip(x, -y, y) if isinstance(x, Tensor) else mg.clip(y, -x, x),
    "clip from below": lambda x, y: mg.clip(x, min=y) if isinstance(x, Tensor) else mg.clip(y, min=x),
    "clip from above": lambda x, y: mg.clip(x, max=y) if isinstance(x, Tensor) else mg.clip(y, max=x),
}
NUMBERS = [2, 0.5, True, np.sqrt(2), np.float32(0.5), np.float16(0.5), np.longdouble(1.5), np.int64(3), np.uint8(2)]


@pytest.mark.parametrize("dtype", [*HALF, np.float32, np.float64])
@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{type(n).__name__} {n}")
@pytest.mark.parametrize("name", BINARY)
def test_a_number_never_promotes(name: str, number: Any, dtype: Any) -> None:
    f, values = BINARY[name], np.array([0.25, 3.0])
    for swapped in (False, True):
        g = (lambda x: f(number, x)) if swapped else (lambda x: f(x, number))
        x = leaf(values, dtype)
        y = g(x)
        y.backward(np.ones(2, dtype), create_graph=True)
        assert (y.dtype, x.grad.dtype) == (dtype, dtype)
        exact = g(Tensor(values)).numpy()
        np.testing.assert_allclose(y.numpy().astype(np.float64), exact, rtol=8 * ROUNDING.get(dtype, 1e-16))
    x = leaf(values, dtype)
    assert (x * number + number - number * x).dtype == dtype
    for ddof in (np.int64(1), np.float64(1)):
        assert x.var(ddof=ddof).dtype == x.std(ddof=ddof).dtype == dtype
    assert mg.pad(x, 1, constant_values=number).dtype == dtype
