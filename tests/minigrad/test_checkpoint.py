"""Checkpointing changes memory and nothing else: values and gradients are equal bit for bit, through dropout, nesting,
captured tensors.
"""

from __future__ import annotations

import sys
import tracemalloc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, random
from minigrad.checkpoint import checkpoint
from minigrad.lazy import LazyGradient
from minigrad.tensor import record
from tests.minigrad.helpers import leaf, seeds

plain: Callable = lambda f, *inputs: f(*inputs)


def parameters(seed: int, C: int = 6, layers: int = 3) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    return [Tensor(rng.standard_normal(shape), requires_grad=True) for _ in range(layers) for shape in ((C, C), (C,))]


def network(run: Callable, x: Tensor, ps: list[Tensor], nested: bool = False) -> Tensor:
    """Residual blocks with dropout, each run by `run`; the weights are captured, not passed."""
    for weight, scale in zip(ps[::2], ps[1::2]):

        def inner(h: Tensor, weight: Tensor = weight) -> Tensor:
            return mg.dropout(mg.gelu(mg.linear(h, weight)), 0.3)

        def block(h: Tensor, scale: Tensor = scale, inner: Callable = inner) -> Tensor:
            return h + (run(inner, mg.rms_norm(h, scale)) if nested else inner(mg.rms_norm(h, scale)))

        x = run(block, x)
    return (mg.dropout(x, 0.2) ** 2).sum()


@given(seeds, st.booleans(), st.booleans())
def test_gradients_are_the_same_bits(seed: int, nested: bool, input_needs: bool) -> None:
    found = []
    for run in (plain, checkpoint):
        ps, x = parameters(seed), Tensor(np.random.default_rng(seed).standard_normal((4, 6)), requires_grad=input_needs)
        random.seed(seed)
        y = network(run, x, ps, nested)
        y.backward()
        found.append((y.data, random.stream_state(), [p.grad.data for p in (ps + [x] * input_needs)]))
    (y, state, grads), (y_again, state_again, grads_again) = found
    assert y == y_again
    assert state == state_again
    for a, b in zip(grads, grads_again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.control
def test_dropout_that_draws_new_masks_the_second_time_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    grads = []
    for _ in range(2):
        ps, x = parameters(1), Tensor(np.ones((4, 6)))
        random.seed(1)
        network(checkpoint, x, ps).backward()
        grads.append(ps[0].grad.data)
        monkeypatch.setattr(sys.modules["minigrad.checkpoint"], "replay", nullcontext)
    assert (grads[0] != grads[1]).any()


@given(seeds)
def test_grad_and_second_derivatives(seed: int) -> None:
    found = []
    for run in (plain, checkpoint):
        ps, x = parameters(seed, C=3, layers=2), leaf(np.random.default_rng(seed).standard_normal((2, 3)))
        random.seed(seed)
        first = mg.grad(network(run, x, ps, nested=True), [x, *ps], create_graph=True)
        second = mg.grad(sum((g * g).sum() for g in first), [x, *ps])
        found.append([t.data for t in (*first, *second)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-11)  # sums in another order, through two backward passes


def test_what_f_uses_without_being_given_it_gets_its_gradient() -> None:
    """Captured tensors, computed outside or leaves, also when they are passed as well; and a graph that lives on
    after.
    """

    def gradients(run: Callable) -> list:
        a, b = (Tensor([0.5, 2.0], requires_grad=True) for _ in range(2))
        outside = a * b
        y = run(lambda h, n, unused: h * outside * a * n + h, a, 3, None)
        y = (y * outside).sum()
        y.backward(retain_graph=True)
        y.backward()
        return [a.grad.data, b.grad.data]

    np.testing.assert_allclose(gradients(checkpoint), gradients(plain), rtol=1e-6)  # float32: a few roundings


def test_results_that_need_no_gradient_and_a_function_that_returns_its_input() -> None:
    x = Tensor([1.0], requires_grad=True)
    with mg.no_grad():
        assert not checkpoint(lambda h: h * 2, x).requires_grad
    assert not checkpoint(lambda h: h * 2, x.detach()).requires_grad
    assert not checkpoint(lambda h: (h * 2).detach() + 1, x.detach()).requires_grad
    checkpoint(lambda h: h, x).backward()
    assert x.grad.item() == 1
    with pytest.raises(TypeError, match="returns one tensor, this one returned a tuple"):
        checkpoint(lambda h: (h, h), x)


def test_an_error_inside_leaves_nothing_behind() -> None:
    def fail(h: Tensor) -> Tensor:
        raise KeyError("inside")

    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(KeyError):
        checkpoint(fail, x)
    assert (x * 2).requires_grad


def test_memory_of_a_deep_chain() -> None:
    """20 segments that save 10 arrays each: checkpointed, 20 inputs and one segment are there at a time."""

    def segment(h: Tensor) -> Tensor:
        for _ in range(10):
            h = mg.sin(mg.exp(h))
        return h

    def peak(run: Callable) -> float:
        x = Tensor(np.ones(10_000), requires_grad=True)
        tracemalloc.start()
        y = x
        for _ in range(20):
            y = run(segment, y)
        y.sum().backward()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found / x.data.nbytes

    assert peak(plain) > 200
    assert peak(checkpoint) < 20 + 10 + 10


def test_lazy_gradients_of_a_rule_are_freed_before_the_next_rule_runs() -> None:
    weight, x = Tensor(np.ones(3), requires_grad=True), Tensor(np.ones(3), requires_grad=True)
    held: list[weakref.ref] = []

    def later(g: Any, out: Any) -> Any:
        gradient = LazyGradient(g, lambda out: np.copyto(out, g))
        held.append(weakref.ref(gradient.fill))
        return gradient, g

    def earlier(g: Any, out: Any) -> Any:
        assert held[0]() is None, "the gradient of the weight has been stored, but what it was computed from is kept"
        return (g,)

    y = record(np.ones(3), [x], earlier)
    record(np.ones(3), [weight, y], later).sum().backward()
    assert held and weight.grad is not None and x.grad is not None
