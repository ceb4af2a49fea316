"""NaN, infinities, zeros, huge and tiny numbers: values and gradients are those of PyTorch.

A NaN must not vanish on the way back, and none may appear where the function has a slope.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import grad
from tests.minigrad.helpers import leaf

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NaN and infinities, which are the subject here

SPECIAL = [math.nan, math.inf, -math.inf, 0.0, 1.0, -1.0, 2.0, -3.5, 1e-30, 1e4, -1e4, 1e13, -1e13, 1e20, -1e20]
ROUNDING = {np.float32: 1e-5, np.float64: 1e-12}  # some tens of roundings

# Functions with their PyTorch counterparts; `T` is torch and `F` torch.nn.functional. Where ours differs on purpose, it
# is not compared: softmax and its kin where all are -inf; abs at NaN (NaN, PyTorch 0); prod (see below).
ELEMENTWISE: dict[str, tuple[Callable, Callable]] = {
    "relu": (mg.relu, lambda T, F, x: F.relu(x)),
    "clip": (lambda x: mg.clip(x, -1.0, 2.0), lambda T, F, x: T.clamp(x, -1.0, 2.0)),
    "maximum": (lambda x: mg.maximum(x, 1.0), lambda T, F, x: T.maximum(x, T.ones((), dtype=x.dtype))),
    "minimum": (lambda x: mg.minimum(x, 1.0), lambda T, F, x: T.minimum(x, T.ones((), dtype=x.dtype))),
    "reglu of up 1": (lambda x: mg.reglu(x, mg.ones_like(x)), lambda T, F, x: F.relu(x)),
    "relu_squared": (mg.relu_squared, lambda T, F, x: F.relu(x) ** 2),
    "relu_squared_reference": (mg.relu_squared_reference, lambda T, F, x: F.relu(x) ** 2),
    "exp": (mg.exp, lambda T, F, x: T.exp(x)),
    "tanh": (mg.tanh, lambda T, F, x: T.tanh(x)),
    "sigmoid": (mg.sigmoid, lambda T, F, x: T.sigmoid(x)),
    "erf": (mg.erf, lambda T, F, x: T.erf(x)),
    "square": (lambda x: x**2, lambda T, F, x: x**2),
    "to the power 0": (lambda x: x**0, lambda T, F, x: x**0),
    "log of relu": (lambda x: mg.log(mg.relu(x)), lambda T, F, x: T.log(F.relu(x))),
    "log of clip": (lambda x: mg.log(mg.clip(x, 0.0, 1.0)), lambda T, F, x: T.log(T.clamp(x, 0.0, 1.0))),
}
ROWS: dict[str, tuple[Callable, Callable]] = {
    "sum": (mg.sum, lambda T, F, x: T.sum(x)),
    "mean": (mg.mean, lambda T, F, x: T.mean(x)),
    "std": (mg.std, lambda T, F, x: T.std(x, correction=0)),
    "max": (mg.max, lambda T, F, x: T.amax(x)),
    "min": (mg.min, lambda T, F, x: T.amin(x)),
    "cumsum": (lambda x: mg.cumsum(x, 0), lambda T, F, x: T.cumsum(x, 0)),
    "softmax": (lambda x: mg.softmax(x, 0), lambda T, F, x: T.softmax(x, 0)),
    "log_softmax": (lambda x: mg.log_softmax(x, 0), lambda T, F, x: T.log_softmax(x, 0)),
    "logsumexp": (lambda x: mg.logsumexp(x, 0), lambda T, F, x: T.logsumexp(x, 0)),
    "cross_entropy": (lambda x: mg.cross_entropy(x, np.array(0)), lambda T, F, x: F.cross_entropy(x, T.tensor(0))),
    "cross_entropy_reference": (
        lambda x: mg.cross_entropy_reference(x, np.array(0)),
        lambda T, F, x: F.cross_entropy(x, T.tensor(0)),
    ),
}


def compare(f: Callable, peer: Callable, values: list[float], dtype: Any) -> None:
    """Value and gradient of f are those of PyTorch's function, also where they are NaN or infinite."""
    torch = pytest.importorskip("torch")
    x = leaf(values, dtype)
    y = f(x)
    y.sum().backward()
    other = torch.tensor(x.numpy(), requires_grad=True)
    expected = peer(torch, torch.nn.functional, other)
    expected.sum().backward()
    for name, ours, theirs in (("value", y, expected.detach()), ("gradient", x.grad, other.grad)):
        # A gradient may be the difference of terms of size 1, of which only the rounding is left.
        atol = ROUNDING[dtype] if name == "gradient" else 0.0
        message = f"{name} at {values}"
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=ROUNDING[dtype], atol=atol, err_msg=message)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_functions_of_single_numbers_equal_torch(name: str, dtype: Any) -> None:
    for value in SPECIAL:
        compare(*ELEMENTWISE[name], [value], dtype)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ROWS)
@given(values=st.lists(st.sampled_from(SPECIAL), min_size=1, max_size=4))
def test_functions_of_rows_equal_torch(name: str, dtype: Any, values: list[float]) -> None:
    if all(v == -math.inf for v in values) or (name == "std" and max(map(abs, values)) > 1e19 and dtype == np.float64):
        return  # ours is defined where all are -inf; PyTorch's std of float64 has digits to lose there
    compare(*ROWS[name], values, dtype)


@pytest.mark.control
def test_a_gradient_in_which_nan_vanishes_is_caught() -> None:
    with pytest.raises(AssertionError, match="gradient"):
        compare(
            lambda x: mg.where(mg.isnan(x), mg.stop_gradient(x), x), lambda T, F, x: T.relu(x), [math.nan], np.float32
        )


@pytest.mark.parametrize("name", ["gelu", "gelu, tanh", "silu", "relu_squared"])
@given(value=st.floats(-(2.0**60), 2.0**60, width=32))
def test_activations_have_a_slope_at_every_finite_number(name: str, value: float) -> None:
    """Far from 0 they are 0, x or x²."""
    f = {"gelu": mg.gelu, "gelu, tanh": lambda x: mg.gelu(x, "tanh"), "silu": mg.silu, "relu_squared": mg.relu_squared}
    x = leaf([value], np.float32)
    slope = grad(f[name](x).sum(), x).item()
    assert math.isfinite(slope)
    if abs(value) > 100:
        assert slope == (0.0 if value < 0 else np.float32(2 * value) if name == "relu_squared" else 1.0)


def others(values: np.ndarray) -> list[float]:
    """For each number the product of all others, computed in whole numbers."""
    exact = list(map(Fraction, values.tolist()))
    return [_rounded(math.prod(exact[:i] + exact[i + 1 :])) for i in range(len(exact))]


def _rounded(x: Fraction) -> float:
    try:
        return float(x)
    except OverflowError:
        return math.inf if x > 0 else -math.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(exponents=st.lists(st.none() | st.integers(-30, 30), min_size=1, max_size=40))
def test_the_gradient_of_prod_is_the_product_of_all_others(dtype: Any, exponents: list[int | None]) -> None:
    """Of zeros (None), huge and tiny numbers in any order: no product on the way overflows or underflows."""
    unit = {np.float32: 10.0, np.float64: 1e8}[dtype]
    values = np.array([0.0 if n is None else unit**n * (-1) ** n for n in exponents], dtype)
    x = leaf(values, dtype)
    received = grad(mg.prod(x), x).numpy()
    with np.errstate(over="ignore", under="ignore"):
        expected = np.array(others(values)).astype(dtype)
    # a rounding for each factor; the smallest numbers of a dtype have few digits
    np.testing.assert_allclose(
        received, expected, rtol=len(values) * np.finfo(dtype).eps, atol=np.finfo(dtype).smallest_subnormal * 2
    )


def test_a_huge_number_beside_two_zeros() -> None:
    for dtype, huge in ((np.float64, 1e200), (np.float32, 1e25)):
        for values in ([0, huge, huge, 0], [huge, huge, 0, 0], [0, 0, huge, huge]):
            assert grad(mg.prod(x := leaf(values, dtype)), x).numpy().tolist() == [0.0] * 4


def test_the_mixed_derivative_of_a_product_of_zeros() -> None:
    x = leaf([0.0, 0.0, 3.0])
    first = grad(mg.prod(x), x, create_graph=True)
    assert grad(first[0], x).numpy().tolist() == [0.0, 3.0, 0.0]  # d(x_2 x_3) at (0, 3)


# --- losses -----------------------------------------------------------------------------------------------------------

LOSSES = {
    "cross_entropy": mg.cross_entropy,
    "cross_entropy_reference": mg.cross_entropy_reference,
    "linear_cross_entropy": lambda z, t, **o: mg.linear_cross_entropy(z, np.eye(z.shape[-1], dtype=z.dtype), t, **o),
    "linear_cross_entropy_reference": lambda z, t, **o: mg.linear_cross_entropy_reference(
        z, np.eye(z.shape[-1], dtype=z.dtype), t, **o
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@given(seed=st.integers(0, 2**32 - 1), bad=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_row_that_is_ignored_counts_for_nothing(name: str, seed: int, bad: float) -> None:
    """Whatever is in it: the loss and the gradients of the other rows are the same as without it."""
    rng = np.random.default_rng(seed)
    logits, targets = rng.standard_normal((5, 4)), rng.integers(0, 4, 5)
    options = {"label_smoothing": 0.1, "z_loss": 0.1}
    whole, weight = leaf(logits[:4]), leaf(rng.standard_normal((4, 4)))
    is_linear = name.startswith("linear")

    def run(z: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        x, w = leaf(z), leaf(weight.numpy())
        loss = getattr(mg, name)(x, w, t, **options) if is_linear else getattr(mg, name)(x @ w, t, **options)
        loss.backward()
        return loss.item(), x.grad.numpy(), w.grad.numpy()

    expected = run(whole.numpy(), targets[:4])
    logits[4] = np.where(rng.random(4) < 0.5, bad, logits[4])
    received = run(logits, np.append(targets[:4], -100))
    np.testing.assert_allclose(received[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(received[1][:4], expected[1], rtol=1e-12, atol=1e-14)
    if is_linear:  # elsewhere, the product before the loss multiplies the zeros by the bad numbers
        assert not received[1][4].any()
        np.testing.assert_allclose(received[2], expected[2], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy_reference"])
def test_a_logit_at_minus_infinity_is_a_class_that_cannot_be(name: str) -> None:
    z = leaf([[-np.inf, 1.0, 2.0], [0.0, 1.0, -np.inf]])
    loss = getattr(mg, name)(z, np.array([1, 1]))
    assert loss.item() == pytest.approx((math.log(1 + math.e) + math.log(1 + math.exp(-1))) / 2, rel=1e-14)
    slopes = grad(loss, z).numpy()
    assert slopes[0, 0] == slopes[1, 2] == 0 and np.isfinite(slopes).all()
    assert getattr(mg, name)(z, np.array([0, 1])).item() == math.inf
    assert getattr(mg, name)(z, np.array([1, 1]), label_smoothing=0.1).item() == math.inf
