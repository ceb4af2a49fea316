"""Negative controls: for each check of the table, functions that break this one rule. The check must catch them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from minigrad import Tensor, backward
from minigrad.fused.record import record_fused
from minigrad.gradcheck.choices import call
from minigrad.lazy import Gradient
from minigrad.modes import mode
from minigrad.tensor import record
from tests.minigrad import checks

pytestmark = pytest.mark.control
ONE = call(np.array([0.3, -1.1, 1.7]))
TWO = call(np.array([0.5, -1.5, 2.0]), np.array([1.0, 2.0, 3.0]))


def square(x: Tensor) -> Tensor:
    return record(x.data * x.data, (x,), lambda g, out: (g * x * 2.0,))


def fused_product(vjp: Callable, value: Callable = np.multiply) -> Callable[[Tensor, Tensor], Tensor]:
    """x * y as a fused function with the rule `vjp(g, x, y, needs)`."""

    def product(x: Tensor, y: Tensor) -> Tensor:
        rule = lambda g, needs: vjp(g, x.data, y.data, needs)
        return record_fused(value(x.data, y.data), (x, y), rule, lambda x, y: x * y)

    return product


correct_product = fused_product(lambda g, x, y, needs: (g * y if needs[0] else None, g * x if needs[1] else None))


def test_correct_functions_pass() -> None:
    checks.check_value(square, np.square, ONE)
    checks.check_fused(correct_product, lambda x, y: x * y, TWO)
    for check in (
        checks.check_recording_changes_nothing,
        checks.check_float32,
        checks.check_gradients_fit,
        checks.check_each_input_alone,
        checks.check_accumulation,
        checks.check_memory_is_separate,
        checks.check_no_cycles,
    ):
        check(square, ONE)
        check(correct_product, TWO)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda x: square(x) + 1e-8, "value"),
        (lambda x: square(x).astype(np.float32), "float32 from float64"),
        (lambda x: square(x).reshape(3, 1), "shape"),
        (lambda x: [square(x), square(x)], "2 results"),
    ],
)
def test_a_wrong_value_is_caught(broken: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        checks.check_value(broken, np.square, ONE)


def test_a_value_that_depends_on_recording_is_caught() -> None:
    with pytest.raises(AssertionError, match="recorded"):
        checks.check_recording_changes_nothing(lambda x: square(x) * (1.0 + 1e-15 * x.requires_grad), ONE)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda x: x * Tensor(np.ones(3)), "float64 from float32"),
        (lambda x: (x + 1e6) - 1e6, "float32 value"),
        (lambda x: record(x.data * x.data, (x,), lambda g, out: (g * ((x + 1e6) - 1e6) * 2.0,)), "float32 gradient"),
    ],
)
def test_a_loss_of_precision_is_caught(broken: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        checks.check_float32(broken, ONE)


def test_a_gradient_that_does_not_fit_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "_fit_to_parent", lambda g, parent, node: g)
    monkeypatch.setattr(Tensor, "accumulate", lambda self, g, in_place: setattr(self, "grad", Tensor(g)))
    with pytest.raises(AssertionError, match="float64.* for float32"):
        checks.check_gradients_fit(lambda x, y: x * y, TWO)
    with pytest.raises(AssertionError, match=r"\(3,\) for float64\(1,\)"):
        checks.check_gradients_fit(lambda x, y: x * y, call(np.ones(1), np.ones(3)))


@pytest.mark.parametrize(
    ("vjp", "message"),
    [
        (lambda g, x, y, needs: (g * y * (1 + 1e-9 * needs[1]), g * x), "gradient 0 alone"),
        (lambda g, x, y, needs: (g * y, g * x if needs[0] else None), "gradient 1 alone|NoneType"),
    ],
)
def test_a_gradient_that_depends_on_whether_others_are_needed_is_caught(vjp: Callable, message: str) -> None:
    with pytest.raises((AssertionError, AttributeError), match=message):
        checks.check_each_input_alone(fused_product(vjp), TWO)


def test_a_gradient_that_is_replaced_instead_of_added_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "accumulate", lambda self, g, in_place: setattr(self, "grad", Tensor(g.copy())))
    with pytest.raises(AssertionError, match="two calls"):
        checks.check_accumulation(square, ONE)


def write_input(x: Tensor) -> Tensor:
    x.data[0] += 1.0
    return square(x)


def write_beside_input(x: Tensor) -> Tensor:
    x.data.base[-1] = 7.0  # a gap between the elements of a strided view
    return square(x)


def write_incoming_gradient(x: Tensor) -> Tensor:
    def rule(g: Gradient, out: np.ndarray) -> tuple:
        g *= 2.0
        return (g * x,)

    return record(x.data * x.data, (x,), rule)


def write_result(x: Tensor) -> Tensor:
    def rule(g: Gradient, out: np.ndarray) -> tuple:
        out[...] = 0.0
        return (g * x * 2.0,)

    return record(x.data * x.data, (x,), rule, keep_output=True)


@pytest.mark.parametrize("broken", [write_input, write_beside_input, write_incoming_gradient, write_result])
def test_a_write_into_an_array_that_came_in_is_caught(broken: Callable) -> None:
    strided = call(np.arange(6.0)[::2])
    with pytest.raises(AssertionError, match="written to"):
        checks.check_memory_is_separate(broken, strided)


def test_a_gradient_that_aliases_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "accumulate", lambda self, g, in_place: setattr(self, "grad", Tensor(g)))
    for f in (lambda x, y: x + y, lambda x, y: x.reshape(3, 1).reshape(3) + y):
        with pytest.raises(AssertionError, match="shares its memory"):
            checks.check_memory_is_separate(f, TWO)


def test_a_reference_cycle_is_caught() -> None:
    def leaky(x: Tensor) -> Tensor:
        out = record(x.data * x.data, (x,), lambda g, _: (g * x * (2.0 if out.ndim else 2.0),))
        return out

    with pytest.raises(AssertionError, match="reference cycles"):
        checks.check_no_cycles(leaky, ONE)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (fused_product(lambda g, x, y, needs: (g * y, g * x), value=lambda x, y: x * y + 1e-9), "value"),
        (fused_product(lambda g, x, y, needs: (g * y, g * x * (1 + 1e-9))), "gradient 1"),
    ],
)
def test_a_fused_function_that_is_not_its_reference_is_caught(broken: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        checks.check_fused(broken, lambda x, y: x * y, TWO)


def test_afterwards_the_engine_is_as_before() -> None:
    """The patches above are undone, and the mode of this thread is the default."""
    assert mode.op_hook is None
    assert mode.recording
    test_correct_functions_pass()
