"""Long sums and small differences keep their digits in float32: they are compared with float64 of the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, grad
from minigrad.sums import column_sums, sum_array
from tests.minigrad.helpers import leaf, seeds

UNIT = float(np.finfo(np.float32).eps)  # 1.2e-7: the distance of neighbouring float32 numbers near 1

# A sum of positive numbers, added in blocks of 128 rows: the roundings of a block are independent, sqrt(128) halves of
# UNIT at most, and those of many blocks cancel. Row after row, 20,000 rows are off by 20 to 60 UNIT.
SUM = 4 * UNIT


def positive(seed: int, *shape: int) -> np.ndarray:
    """Numbers between 0 and 1, of which no two sums cancel."""
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def check_close(received: Any, exact: Any, tolerance: float) -> None:
    assert received.dtype == np.float32
    error = np.abs(received.astype(np.float64) / exact - 1).max()
    assert error <= tolerance, f"off by {error / UNIT:.1f} units"


@given(
    seed=seeds,
    shape=st.sampled_from([(20_000,), (20_000, 3), (3, 9000, 2), (300, 50, 4), (50, 300, 1), (4, 5, 2000), (129, 64)]),
    layout=st.sampled_from(["C", "F", "gaps", "backwards"]),
    data=st.data(),
)
def test_sums_along_any_axes_are_exact(seed: int, shape: tuple[int, ...], layout: str, data: st.DataObject) -> None:
    a = positive(seed, *shape)
    a = {"C": a, "F": np.asfortranarray(a), "gaps": np.repeat(a, 2, axis=-1)[..., ::2], "backwards": a[::-1]}[layout]
    every = range(len(shape))
    axis = data.draw(st.none() | st.sampled_from(every) | st.sets(st.sampled_from(every)).map(tuple))
    keepdims = data.draw(st.booleans())
    exact = a.astype(np.float64).sum(axis, keepdims=keepdims)
    received = sum_array(a, axis, keepdims=keepdims)
    assert np.shape(received) == exact.shape
    check_close(received, exact, SUM)


@given(
    shape=st.lists(st.sampled_from([1, 2, 5, 100]), min_size=1, max_size=3).map(tuple),
    name=st.sampled_from(["sum", "mean", "var", "std", "logsumexp", "softmax", "log_softmax"]),
    data=st.data(),
)
def test_an_axis_that_does_not_exist_is_refused(shape: tuple[int, ...], name: str, data: st.DataObject) -> None:
    """In arrays of any size: which of the formulas adds the elements depends on it."""
    x, ndim = Tensor(np.ones(shape, np.float32)), len(shape)
    missing = data.draw(st.integers(ndim, 3 * ndim) | st.integers(-3 * ndim, -ndim - 1))
    axis = data.draw(st.sampled_from([missing, (missing,), (missing, 0), (0, missing)]))
    with pytest.raises(np.exceptions.AxisError):
        getattr(mg, name)(x, axis)
    with pytest.raises(ValueError):  # the same axis twice
        getattr(mg, name)(x, (0, -ndim))


@pytest.mark.control
def test_adding_row_after_row_is_caught() -> None:
    a = positive(0, 20_000, 64)
    with pytest.raises(AssertionError, match="off by"):
        check_close(a.sum(axis=0), a.astype(np.float64).sum(axis=0), SUM)


@given(seed=seeds, rows=st.integers(0, 1000), width=st.integers(0, 5))
def test_column_sums_of_any_number_of_rows(seed: int, rows: int, width: int) -> None:
    a = positive(seed, 2, rows, width).astype(np.float64)
    np.testing.assert_allclose(column_sums(a), a.sum(axis=1), rtol=1e-14)  # float64: the order alone


ROWS, WIDTH = 20_000, 5
LONG: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x.sum(axis=0),
    "mean": lambda x: x.mean(axis=0),
    "var": lambda x: x.var(axis=0),
    "std": lambda x: x.std(axis=0),
    "cumsum": lambda x: x.cumsum(axis=0),
    "logsumexp": lambda x: mg.logsumexp(x, axis=0),
}


@pytest.mark.parametrize("name", LONG)
@given(seed=seeds)
def test_reductions_of_many_rows_are_exact(name: str, seed: int) -> None:
    a = positive(seed, ROWS, WIDTH) + np.float32(1)
    # a variance is a sum of squares of differences, each of which has a rounding of its own
    check_close(LONG[name](Tensor(a)).numpy(), LONG[name](Tensor(a.astype(np.float64))).numpy(), SUM)


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij->", [(ROWS, WIDTH)]),
        ("ij->j", [(ROWS, WIDTH)]),
        ("i...->...", [(ROWS, WIDTH)]),
        ("ij,k->jk", [(ROWS, WIDTH), (2,)]),
        ("ij,k->", [(ROWS, WIDTH), (ROWS,)]),
        ("ij,jk->k", [(ROWS, WIDTH), (WIDTH, 2)]),
    ],
)
@given(seed=seeds)
def test_einsum_adds_the_axes_of_one_input_exactly_forward_and_back(
    subscripts: str, shapes: list[tuple[int, ...]], seed: int
) -> None:
    arrays = [positive(seed + n, *shape) for n, shape in enumerate(shapes)]

    def value_and_gradients(dtype: Any) -> list[np.ndarray]:
        xs = [leaf(a, dtype) for a in arrays]
        out = mg.einsum(subscripts, *xs)
        return [out.numpy(), *(g.numpy() for g in grad(out.sum(), xs))]

    for received, exact in zip(value_and_gradients(np.float32), value_and_gradients(np.float64), strict=True):
        check_close(received, exact, 2 * SUM)  # of products, which have roundings of their own


PARAMETERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a bias that is broadcast": lambda x, p: x + p,
    "a factor that is broadcast": lambda x, p: x * p,
    "the bias of linear": lambda x, p: mg.linear(x, np.eye(WIDTH, dtype=x.dtype), p),
    "the bias of linear_activation": lambda x, p: mg.linear_activation(
        x, np.eye(WIDTH, dtype=x.dtype), p, activation="silu"
    ),
    "the bias of layer_norm": lambda x, p: mg.layer_norm(x, None, p),
    "the bias of a loss": lambda x, p: mg.linear_cross_entropy(
        x, np.eye(WIDTH, dtype=x.dtype), np.zeros(len(x), int), p, reduction="sum"
    ),
}


@pytest.mark.parametrize("name", PARAMETERS)
@given(seed=seeds)
def test_the_gradient_of_a_parameter_is_an_exact_sum_over_the_rows(name: str, seed: int) -> None:
    a, p = positive(seed, ROWS, WIDTH), positive(seed + 1, WIDTH)

    def gradient(dtype: Any) -> np.ndarray:
        parameter = leaf(p, dtype)
        return grad(PARAMETERS[name](Tensor(a.astype(dtype)), parameter).sum(), parameter).numpy()

    # the terms have some roundings themselves
    check_close(gradient(np.float32), gradient(np.float64), 4 * SUM)


LOOKUPS: dict[str, Callable[[Tensor, np.ndarray], Tensor]] = {
    "embedding": lambda x, ids: mg.embedding(ids, x),
    "x[ids]": lambda x, ids: x[ids],
    "x[-ids]": lambda x, ids: x[ids - len(x)],
    "take": lambda x, ids: mg.take(x, ids.reshape(2, -1), 0),
    "numbers": lambda x, ids: x[:, 0][ids],
}


@pytest.mark.parametrize("name", LOOKUPS)
@given(seed=seeds, dtype=st.sampled_from([np.float32, np.float16]), repeated=st.sampled_from([2, 5000, ROWS - 2]))
def test_the_gradient_of_a_row_that_is_read_often_is_an_exact_sum(
    name: str, seed: int, dtype: Any, repeated: int
) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 1000, ROWS)
    ids[rng.permutation(ROWS)[:repeated]] = 7
    x = leaf(np.zeros((1000, WIDTH)), dtype)
    out = LOOKUPS[name](x, ids.astype(rng.choice([np.int16, np.int64])))
    g = rng.random(out.shape).astype(dtype)
    out.backward(g)
    exact = np.zeros((1000, WIDTH))
    np.add.at(
        exact[:, 0] if name == "numbers" else exact, ids, g.reshape(ROWS, *out.shape[2 if name == "take" else 1 :])
    )
    unit = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(x.grad.data, exact, rtol=SUM / UNIT * unit if dtype == np.float32 else unit)


# --- losses -----------------------------------------------------------------------------------------------------------

LOSSES = ["cross_entropy", "cross_entropy_reference", "linear_cross_entropy", "linear_cross_entropy_reference"]


def loss_and_gradient(name: str, z: np.ndarray, targets: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """With the unit matrix as the weight, the losses with a head are those of its input."""
    x = leaf(z, z.dtype)
    head = (np.eye(z.shape[-1], dtype=z.dtype),) if name.startswith("linear") else ()
    loss = getattr(mg, name)(x, *head, targets, **options)
    return loss.numpy(), grad(loss.sum(), x).numpy()


@pytest.mark.parametrize("name", LOSSES)
@given(seed=seeds, shift=st.sampled_from([0.0, 1e4, -1e4, 3e6]), smoothing=st.sampled_from([0.0, 0.1]))
def test_a_loss_does_not_lose_its_digits_where_all_logits_are_large(
    name: str, seed: int, shift: float, smoothing: float
) -> None:
    """The shift is added in float32 first, so that both get the same numbers."""
    rng = np.random.default_rng(seed)
    z = (3 * rng.standard_normal((6, 10))).astype(np.float32) + np.float32(shift)
    targets = rng.integers(0, 10, 6)
    options = {"label_smoothing": smoothing, "reduction": "none"}
    (loss, slopes), exact = (loss_and_gradient(name, z.astype(d), targets, **options) for d in (np.float32, np.float64))
    np.testing.assert_allclose(loss, exact[0], rtol=10 * UNIT, atol=4 * UNIT)  # a difference of terms of size 1 to 20
    np.testing.assert_allclose(slopes, exact[1], rtol=0, atol=8 * UNIT)  # differences of probabilities


@pytest.mark.parametrize("name", LOSSES)
@given(top=st.floats(5, 30, width=32))
def test_a_small_loss_is_as_exact_as_torch_gives_it(name: str, top: float) -> None:
    """log(1 + 9 exp(-top)): each of the additions beside the 1 is off by at most half a unit."""
    z = np.zeros((1, 10), np.float32)
    z[0, 3] = top
    loss, _ = loss_and_gradient(name, z, np.array([3]))
    assert loss == pytest.approx(np.log1p(9 * np.exp(-np.float64(np.float32(top)))), rel=4 * UNIT, abs=4.5 * UNIT)


@pytest.mark.parity
@pytest.mark.parametrize("name", LOSSES)
def test_a_small_loss_equals_that_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    z = np.array([[16.0] + [0.0] * 9], np.float32)
    for shift in (0, 1e4):
        for smoothing in (0.0, 0.1):
            shifted = z + np.float32(shift)
            expected = torch.nn.functional.cross_entropy(
                torch.tensor(shifted), torch.tensor([0]), label_smoothing=smoothing
            ).item()
            loss, _ = loss_and_gradient(name, shifted, np.array([0]), label_smoothing=smoothing)
            assert loss == pytest.approx(expected, rel=1e-6)


@given(seed=seeds, rows=st.sampled_from([2, 100, 5000]), exponent=st.integers(-30, 30), axis=st.sampled_from([None, 0]))
def test_a_standard_deviation_is_in_range_where_its_square_is_not(
    seed: int, rows: int, exponent: int, axis: int | None
) -> None:
    a = (positive(seed, rows, 3) * 10.0**exponent).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none about an overflow that has no effect
        received = mg.std(Tensor(a), axis).numpy()
        # the variance itself, where float32 can hold it
        variance = mg.var(Tensor(a), axis).numpy() if -15 <= exponent <= 18 else None
    check_close(received, a.astype(np.float64).std(axis), 8 * UNIT)  # differences from a rounded mean
    if variance is not None:
        check_close(variance, a.astype(np.float64).var(axis), 16 * UNIT)
