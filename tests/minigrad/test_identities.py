"""Identities of gradients that can be checked by hand: each is one sentence of a derivation, on small whole numbers.

The chapters of docs/course break them, one after another. Whole numbers and halves are exact in floating point, so most
of these tests need no tolerance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor
from minigrad.gradcheck.check import _Point, _Precision
from tests.minigrad.helpers import leaf

ROUNDING = 1e-12  # of sums of a few terms of size about 1, in float64
numbers = st.integers(-3, 3)


@st.composite
def matrices(draw: st.DrawFn, rows: Any, columns: Any) -> list[list[int]]:
    """Rows of small whole numbers. A size is a number, or a strategy that draws it."""
    m, n = (size if isinstance(size, int) else draw(size) for size in (rows, columns))
    return draw(st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=m, max_size=m))


@given(a=numbers, b=numbers, x=numbers)
def test_a_central_difference_is_exact_for_a_parabola(a: int, b: int, x: int) -> None:
    """f(x) = a x² + b x has the derivative 2 a x + b; the error of the difference is h² f'''/6, and f''' is 0."""
    point = _Point(lambda t: t * t * a + t * b, [np.array(float(x))], ["x"], "parabola", _Precision(0.5, 0, 0))
    assert point.numeric(0, np.array(1.0)).item() == 2 * a * x + b


@given(factors=st.lists(numbers, min_size=1, max_size=5))
def test_each_use_of_a_result_adds_to_its_gradient(factors: list[int]) -> None:
    x = leaf(2.0)
    y = x * 1.0
    total = Tensor(np.array(0.0))
    for factor in factors:
        total = total + y * factor
    total.backward()
    assert x.grad.item() == sum(factors)


@given(data=st.data(), to=st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_the_gradient_of_what_was_repeated_is_the_sum_over_its_repetitions(data: st.DataObject, to: list[int]) -> None:
    shape = [data.draw(st.sampled_from([1, n]), "length") for n in to][data.draw(st.integers(0, len(to)), "from") :]
    x, g = leaf(np.zeros(shape)), np.arange(1.0, 1 + np.prod(to)).reshape(to)
    (x + np.zeros(to)).backward(g)
    element = np.broadcast_to(np.arange(x.size).reshape(shape), to)  # which element of x stands there
    assert x.grad.shape == x.shape
    assert x.grad.numpy().ravel().tolist() == [g[element == k].sum() for k in range(x.size)]


@given(data=st.data(), n=st.integers(1, 3))
def test_gradients_of_a_product_say_how_the_loss_moves(data: st.DataObject, n: int) -> None:
    """The loss sum(G * X W) is linear in X and in W. The matrices are square: no shape shows a missing transpose."""
    drawn = [data.draw(matrices(n, n), name) for name in ("X", "W", "G", "step")]
    X, W, G, step = (np.array(rows, float) for rows in drawn)
    x, w = leaf(X), leaf(W)
    (x @ w).backward(G)
    assert (G * (step @ W)).sum() == (x.grad.numpy() * step).sum()
    assert (G * (X @ step)).sum() == (w.grad.numpy() * step).sum()


@given(data=st.data(), logits=matrices(st.integers(1, 4), 3))
def test_the_gradient_of_cross_entropy_adds_up_to_0_in_each_row(data: st.DataObject, logits: list[list[int]]) -> None:
    """Softmax adds up to 1, and so does the target: all logits of a row may be shifted without a change of the loss."""
    z = leaf(logits)
    targets = [data.draw(st.integers(0, 2), "target") for _ in logits]
    mg.cross_entropy(z, np.array(targets)).backward()
    assert np.abs(z.grad.numpy().sum(axis=1)).max() < ROUNDING


rows = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=5).filter(lambda row: len({x for x, _ in row}) > 1)


@given(row=rows)
def test_the_gradient_of_layer_norm_has_no_part_along_a_shift(row: list[tuple[int, int]]) -> None:
    x, g = zip(*row)
    h, dx = _layer_norm_gradient(x, g)
    assert abs(dx.sum()) < ROUNDING


@given(row=rows)
def test_the_gradient_of_layer_norm_has_no_part_along_a_stretch(row: list[tuple[int, int]]) -> None:
    x, g = zip(*row)
    h, dx = _layer_norm_gradient(x, g)
    assert abs((dx * h).sum()) < ROUNDING


def _layer_norm_gradient(x: Any, g: Any) -> tuple[np.ndarray, np.ndarray]:
    """The row without its mean, and its gradient for the gradient g of the result. eps is 0: no stretch changes it."""
    row = leaf(x)
    mg.layer_norm(row, eps=0.0).backward(np.array(g, float))
    return row.data - row.data.mean(), row.grad.numpy()
