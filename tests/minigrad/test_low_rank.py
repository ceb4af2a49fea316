"""A linear map with low-rank updates: it is its definition, its gradients are right, a frozen weight costs nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor
from minigrad.fused.activation import ACTIVATIONS
from minigrad.fused.low_rank import LowRank, linear_low_rank, linear_low_rank_reference
from minigrad.gradcheck import gradcheck
from minigrad.nn import Parameter

CLOSE = {"rtol": 1e-10, "atol": 1e-10}  # float64: other orders of sums of a few numbers of size 1


@st.composite
def calls(draw: st.DrawFn) -> tuple[list[Tensor], dict[str, Any], list[tuple[slice, float]]]:
    """The inputs x, weight, A, B, A, B ..., those with names, and the rows and the scale of each update."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    width, out = draw(st.integers(1, 4)), 2 * draw(st.integers(1, 4))
    cuts = sorted(draw(st.sets(st.integers(0, out), min_size=2, max_size=4)))
    pieces = [slice(*ends) for ends in zip(cuts, cuts[1:])]
    chosen = draw(st.sets(st.sampled_from(range(len(pieces))), min_size=1))
    places = [(pieces[i], draw(st.sampled_from([1.0, 0.5, 3.0]))) for i in chosen]

    def tensor(*shape: int) -> Tensor:
        return Tensor(rng.normal(size=shape), requires_grad=True)

    x = tensor(*draw(st.lists(st.integers(1, 3), max_size=2)), width)
    named = {
        "bias": tensor(out) if draw(st.booleans()) else None,
        "dropped": tensor(*x.shape) if draw(st.booleans()) else None,
    }
    inputs = [x, tensor(out, width)]
    for rows, _ in places:
        rank = draw(st.integers(1, 3))
        inputs += [tensor(rank, width), tensor(rows.stop - rows.start, rank)]
    return inputs, named, places


def call(f: Any, inputs: list[Any], named: dict[str, Any], places: list[tuple[slice, float]], **options: Any) -> Tensor:
    x, weight, *factors = inputs
    updates = [LowRank(a, b, *place) for a, b, place in zip(factors[::2], factors[1::2], places)]
    return f(x, weight, named["bias"], updates, dropped=named["dropped"], **options)


@given(calls(), st.sampled_from([None, *ACTIVATIONS]))
def test_values_and_gradients_are_those_of_the_definition(given: Any, activation: str | None) -> None:
    inputs, named, _ = given
    leaves = [*inputs, *(t for t in named.values() if t is not None)]
    results = []
    for f in (linear_low_rank, linear_low_rank_reference):
        for t in leaves:
            t.zero_grad()
        y = call(f, *given, activation=activation)
        (y * y).sum().backward()
        results.append([y.data, *(t.grad.data for t in leaves)])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, **CLOSE)


@given(calls(), st.sampled_from([None, "gelu", "swiglu"]))
def test_gradients_are_finite_differences(given: Any, activation: str | None) -> None:
    inputs, named, places = given
    names = [name for name, t in named.items() if t is not None]

    def f(*given: Tensor) -> Tensor:
        others = named | dict(zip(names, given[len(inputs) :]))
        return call(linear_low_rank, list(given[: len(inputs)]), others, places, activation=activation)

    gradcheck(f, [*inputs, *(named[name] for name in names)])


@given(calls())
def test_without_gradients_the_values_are_the_same(given: Any) -> None:
    with mg.no_grad():
        plain = call(linear_low_rank, *given, activation="gelu").data
    np.testing.assert_allclose(call(linear_low_rank, *given, activation="gelu").data, plain, **CLOSE)


def test_a_frozen_weight_gets_no_gradient_and_no_product_is_computed_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    weight, bias = Parameter(rng.normal(size=(6, 4))), Parameter(np.zeros(6))
    weight.requires_grad = bias.requires_grad = False
    x, a, b = Tensor(rng.normal(size=(5, 4))), Parameter(np.ones((2, 4))), Parameter(np.ones((6, 2)))
    y = linear_low_rank(x, weight, bias, [LowRank(a, b, slice(0, 6), 1.0)])

    class Refused:
        def __init__(self, *_: Any, **__: Any):
            raise AssertionError("a gradient of a frozen weight was computed")

    monkeypatch.setattr("minigrad.fused.low_rank.LazyGradient", Refused)
    y.sum().backward()
    assert weight.grad is None and bias.grad is None and x.grad is None
    assert a.grad is not None and b.grad is not None


@pytest.mark.control
def test_a_wrong_scale_is_noticed() -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=shape) for shape in ((3, 4), (6, 4), (2, 4), (6, 2))]
    named = {"bias": None, "dropped": None}
    right, wrong = (call(linear_low_rank, inputs, named, [(slice(0, 6), s)]).data for s in (1.0, 1.001))
    assert not np.allclose(right, wrong, **CLOSE)
