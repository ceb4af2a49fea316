"""gradcheck itself: what it accepts, what it catches in each mode and order, what its errors name; and the command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, backward
from minigrad.fused.record import record_fused
from minigrad.gradcheck import Errors, GradientError, gradcheck
from minigrad.gradcheck.__main__ import main
from minigrad.gradcheck.catalogue import CATALOGUE, Entry
from minigrad.gradcheck.choices import Choices, call
from minigrad.lazy import Gradient
from minigrad.tensor import as_tensor, record
from tests import fake_cupy
from tests.minigrad.helpers import seeds
from tests.minigrad.strategies import arrays

MODES = pytest.mark.parametrize("mode", ["full", "random"])
X, Y = np.array([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]]), np.array([1.0, -2.0, 0.5])


def wrong_at(index: Any, factor: float = 1.01) -> Callable[[Tensor], Tensor]:
    """x * x whose gradient is wrong at one element."""

    def square(x: Tensor) -> Tensor:
        slope = 2 * x.data
        slope[index] *= factor
        return record(x.data * x.data, (x,), lambda g, out: (g * slope,))

    return square


def wrong_second(x: Tensor) -> Tensor:
    """x ** 3 whose gradient is right and whose second derivative is wrong: the rule takes one factor for a constant."""
    return record(x.data**3, (x,), lambda g, out: (g * 3.0 * x * x.detach(),))


def wrong_for_gradient(x: Tensor) -> Tensor:
    """x * x whose gradient is right, but does not depend on the incoming gradient when it is differentiated again."""
    return record(x.data * x.data, (x,), lambda g, out: (as_tensor(g).detach() * x * 2.0,))


@MODES
@given(x=arrays(), seed=seeds)
def test_right_functions_pass_with_small_errors(mode: str, x: np.ndarray, seed: int) -> None:
    errors = gradcheck(lambda x: (x * x).sin(), (x,), mode=mode, order=2, seed=seed)
    assert isinstance(errors, Errors)
    assert 0 <= errors.absolute < 1e-7
    assert 0 <= errors.relative < 1e-6


@MODES
@pytest.mark.control
@given(index=st.tuples(st.integers(0, 1), st.integers(0, 2)), seed=seeds)
def test_one_wrong_element_is_caught_and_named(mode: str, index: tuple[int, int], seed: int) -> None:
    message = rf"of square with respect to input 0 at index \({index[0]}, {index[1]}\): expected .*received"
    with pytest.raises(GradientError, match=message):
        gradcheck(wrong_at(index), (X,), mode=mode, seed=seed)


def test_the_error_names_function_input_and_both_numbers() -> None:
    def product(x: Tensor, y: Tensor) -> Tensor:
        return record(x.data * y.data, (x, y), lambda g, out: (g * y, g * x * 2.0))

    with pytest.raises(GradientError) as caught:
        gradcheck(product, (np.array([1.0, 2.0]), np.array([3.0, 4.0])))
    assert str(caught.value).startswith(
        "the gradient of product with respect to input 1 at index (0,): expected 1 (finite differences), "
        "received 2, error 1"
    )
    with pytest.raises(AssertionError, match="gradient of my product"):
        gradcheck(product, (np.ones(2), np.ones(2)), name="my product")


@pytest.mark.control
@MODES
@pytest.mark.parametrize("broken", [wrong_second, wrong_for_gradient])
def test_a_wrong_second_derivative_passes_the_first_order_and_fails_the_second(broken: Callable, mode: str) -> None:
    gradcheck(broken, (X,), mode=mode)
    with pytest.raises(GradientError, match=f"the gradient of the gradient of {broken.__name__} with respect to"):
        gradcheck(broken, (X,), mode=mode, order=2)


@pytest.mark.control
def test_in_the_second_order_a_fused_gradient_is_compared_with_the_reference() -> None:
    """Here the reference is another function. It is what the second derivative is computed from."""

    def f(x: Tensor) -> Tensor:
        return record_fused(x.data * x.data, (x,), lambda g, needs: (2 * x.data * g,), lambda x: x * x * x)

    gradcheck(f, (X,))
    with pytest.raises(GradientError):
        gradcheck(f, (X,), order=2)


@pytest.mark.control
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@MODES
def test_missing_nan_and_infinite_gradients_are_caught(mode: str) -> None:
    for wrong in (None, np.nan, np.inf):

        def square(x: Tensor, wrong: float | None = wrong) -> Tensor:
            return record(x.data * x.data, (x,), lambda g, out: (None if wrong is None else g * wrong,))

        with pytest.raises(GradientError):
            gradcheck(square, (X,), mode=mode)


@MODES
def test_a_constant_function_passes_and_a_gradient_where_there_is_none_does_not(mode: str) -> None:
    gradcheck(lambda x: Tensor(np.ones(3)), (X,), mode=mode, order=2)
    with pytest.raises(GradientError, match="expected 0"):
        gradcheck(lambda x: record(np.ones(3), (x,), lambda g, out: (g.sum() + x * 0,)), (X,), mode=mode)


@MODES
def test_several_inputs_and_several_outputs(mode: str) -> None:
    gradcheck(lambda x, y: [x * y, (x @ y).exp(), y.sum()], (X, Y), mode=mode, order=2)
    with pytest.raises(GradientError):
        gradcheck(lambda x, y: [x * y, wrong_at(1)(x @ y)], (X, Y), mode=mode)


def test_a_third_order() -> None:
    assert gradcheck(lambda x: (x * x * x).exp(), (Y * 0.5,), order=3, mode="random").absolute < 1e-7
    gradcheck(lambda x: wrong_third(x), (Y,), order=2)
    with pytest.raises(GradientError):
        gradcheck(lambda x: wrong_third(x), (Y,), order=3)


def wrong_third(x: Tensor) -> Tensor:
    """x ** 4 whose third derivative is wrong."""

    def rule(g: Gradient, out: None) -> tuple:
        return (g * record(x.data**3 * 4, (x,), lambda h, _: (h * 12.0 * x * x.detach(),)),)

    return record(x.data**4, (x,), rule)


def test_empty_and_0_d_inputs() -> None:
    assert gradcheck(lambda x: x.exp(), (np.zeros((0, 3)),), order=2) == Errors(0.0, 0.0)
    gradcheck(lambda x: x.exp(), np.array(0.5), order=2)
    gradcheck(lambda x: x.exp(), [np.float64(0.5)], order=2)


def test_only_float64_is_taken() -> None:
    for wrong in (X.astype(np.float32), np.arange(3), [1.0, 2.0], 1.0):
        with pytest.raises(TypeError, match="input 1 is .*float64"):
            gradcheck(lambda x, y: x * y, (X, wrong))
    with pytest.raises(GradientError, match="returned float32"):
        gradcheck(lambda x: x.astype(np.float32), (X,))


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="'ful'"):
        gradcheck(mg.exp, (X,), mode="ful")
    with pytest.raises(ValueError, match="order=0"):
        gradcheck(mg.exp, (X,), order=0)


def test_a_random_function_is_refused() -> None:
    numbers = np.random.default_rng(0)
    with pytest.raises(GradientError, match="different values for the same inputs"):
        gradcheck(lambda x: x * numbers.standard_normal(), (X,))
    gradcheck(partial(mg.dropout, p=0.5, key=(1, 2, 3)), (X,))


def test_inputs_are_neither_written_nor_given_gradients() -> None:
    x = Tensor(X.copy(), requires_grad=True)
    gradcheck(mg.exp, (x,), order=2)
    assert np.array_equal(x.data, X)
    assert x.grad is None


@pytest.mark.control
@given(x=arrays(), seed=seeds)
def test_both_modes_catch_a_factor_that_is_wrong_everywhere(x: np.ndarray, seed: int) -> None:
    def square(x: Tensor) -> Tensor:
        return record(x.data * x.data, (x,), lambda g, out: (g * x * 2.01,))

    x = np.where(np.abs(x) < 0.1, 0.1, x)
    for mode in ("full", "random") if x.size else ():
        with pytest.raises(GradientError):
            gradcheck(square, (x,), mode=mode, seed=seed)


@pytest.mark.control
def test_a_gradient_of_the_wrong_shape_or_dtype_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "_fit_to_parent", lambda g, parent, node: g)
    message = r"of <lambda> with respect to input 1 has shape \(2, 3\) .*the input has shape \(3,\)"
    with pytest.raises(GradientError, match=message):
        gradcheck(lambda x, y: x * y, (X, Y))
    with pytest.raises(GradientError, match="dtype float32; .* dtype float64"):
        gradcheck(lambda x: record(x.data * 2, (x,), lambda g, out: (g.astype(np.float32) * 2,)), (X,))


def test_arrays_on_a_gpu_are_checked_there() -> None:
    with fake_cupy.installed() as cupy:
        x = cupy.asarray(X)
        for mode in ("full", "random"):
            assert gradcheck(lambda x: (x * x).exp(), (x,), mode=mode, order=2).relative < 1e-6
            with pytest.raises(GradientError, match=r"index \(1, 2\)"):
                gradcheck(wrong_at((1, 2)), (x,), mode=mode)


# --- the command ------------------------------------------------------------------------------------------------------


def test_without_a_name_the_command_lists_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert set(CATALOGUE) <= set(capsys.readouterr().out.split())


def test_the_command_prints_a_table_and_a_control_that_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attention", "--examples", "4"]) == 0
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith("(")]
    assert len(rows) == 4
    assert all(float(number) < 1e-6 for row in rows for number in row.split()[-4:])
    assert "control: every gradient deliberately multiplied by 1.001" in out
    assert "caught\n    the gradient of broken attention with respect to input" in out


def test_the_command_fails_for_a_wrong_gradient_and_for_a_control_that_is_not_caught(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "bad", Entry(wrong_at(0), lambda c: call(c.array((2,)))))
    assert main(["bad", "--examples", "2"]) == 1
    assert "WRONG" in capsys.readouterr().out
    monkeypatch.setitem(CATALOGUE, "flat", Entry(lambda x: x.detach(), lambda c: call(np.zeros((0, 2)))))
    assert main(["flat", "--examples", "2"]) == 1
    assert "NOT CAUGHT" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "advice"), [("atention", "did you mean attention"), ("zzz", "run it without a name")])
def test_an_unknown_name_is_refused_with_similar_names(
    capsys: pytest.CaptureFixture[str], name: str, advice: str
) -> None:
    assert main(["exp", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert repr(name) in err
    assert advice in err


def test_choices_repeat_for_a_seed_and_differ_between_seeds() -> None:
    def drawn(seed: int) -> list[bytes]:
        c = Choices(seed)
        return [c.array().tobytes() for _ in range(5)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_choice_of_an_example_has_more_than_one_outcome(name: str) -> None:
    most: dict[tuple[str, int], int] = {}  # where a number is chosen: between how many

    class Recording(Choices):
        def integer(self, low: int, high: int) -> int:
            caller = sys._getframe(1)
            place = (caller.f_code.co_filename, caller.f_lineno)
            most[place] = max(most.get(place, 0), high - low + 1)
            return super().integer(low, high)

    for seed in range(30):
        CATALOGUE[name].example(Recording(seed))
    assert [place for place, outcomes in most.items() if outcomes < 2] == []
