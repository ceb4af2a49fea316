"""gradcheck itself: what it accepts, what it catches in each mode and order, what its errors name; and the command."""

from __future__ import annotations

from functools import partial

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
from minigrad.tensor import record, tensor
from tests import fake_cupy
from tests.minigrad.strategies import arrays

MODES = pytest.mark.parametrize("mode", ["full", "random"])
X, Y = np.array([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]]), np.array([1.0, -2.0, 0.5])


def off_at(index, factor=1.01):
    """x * x whose gradient is wrong at one place."""

    def square(x):
        slope = 2 * x.data
        slope[index] *= factor
        return record(x.data * x.data, (x,), lambda g, out: (g * slope,))

    return square


def wrong_second(x):
    """x ** 3 whose gradient is right, and whose second derivative is not: the rule takes one factor for a constant."""
    return record(x.data**3, (x,), lambda g, out: (g * 3.0 * x * x.detach(),))


def wrong_for_gradient(x):
    """x * x with the right gradient, that forgets that the gradient depends on the incoming one."""
    return record(x.data * x.data, (x,), lambda g, out: (tensor(g).detach() * x * 2.0,))


@MODES
@given(arrays(), st.integers(0, 2**32 - 1))
def test_right_functions_pass_with_small_errors(mode, x, seed):
    errors = gradcheck(lambda x: (x * x).sin(), (x,), mode=mode, order=2, seed=seed)
    assert isinstance(errors, Errors)
    assert 0 <= errors.absolute < 1e-7
    assert 0 <= errors.relative < 1e-6


@MODES
@given(st.tuples(st.integers(0, 1), st.integers(0, 2)), st.integers(0, 2**32 - 1))
def test_one_wrong_element_is_caught_and_named(mode, index, seed):
    with pytest.raises(
        GradientError,
        match=rf"of square with respect to input 0 at index \({index[0]}, {index[1]}\): expected .*received",
    ):
        gradcheck(off_at(index), (X,), mode=mode, seed=seed)


def test_the_error_names_function_input_and_both_numbers():
    def product(x, y):
        return record(x.data * y.data, (x, y), lambda g, out: (g * y, g * x * 2.0))

    with pytest.raises(GradientError) as caught:
        gradcheck(product, (np.array([1.0, 2.0]), np.array([3.0, 4.0])))
    assert str(caught.value).startswith(
        "the gradient of product with respect to input 1 at index (0,): expected 1 (finite differences), "
        "received 2, error 1"
    )
    with pytest.raises(AssertionError, match="gradient of my product"):
        gradcheck(product, (np.ones(2), np.ones(2)), name="my product")


@MODES
@pytest.mark.parametrize("broken", [wrong_second, wrong_for_gradient])
def test_a_wrong_second_derivative_passes_the_first_order_and_fails_the_second(broken, mode):
    gradcheck(broken, (X,), mode=mode)
    with pytest.raises(GradientError, match=f"the gradient of the gradient of {broken.__name__} with respect to"):
        gradcheck(broken, (X,), mode=mode, order=2)


def test_a_fused_gradient_is_compared_with_the_reference_in_the_second_order():
    """The first-order rule is right, but the reference, which the second derivative is taken of, is another
    function.
    """

    def f(x):
        return record_fused(x.data * x.data, (x,), lambda g, needs: (2 * x.data * g,), lambda x: x * x * x)

    gradcheck(f, (X,))
    with pytest.raises(GradientError):
        gradcheck(f, (X,), order=2)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@MODES
def test_missing_nan_and_infinite_gradients_are_caught(mode):
    for wrong in (None, np.nan, np.inf):
        with pytest.raises(GradientError):
            gradcheck(
                lambda x, w=wrong: record(x.data * x.data, (x,), lambda g, out: (w if w is None else g * w,)),
                (X,),
                mode=mode,
            )


@MODES
def test_a_constant_function_passes_and_a_gradient_where_there_is_none_does_not(mode):
    gradcheck(lambda x: Tensor(np.ones(3)), (X,), mode=mode, order=2)
    with pytest.raises(GradientError, match="expected 0"):
        gradcheck(lambda x: record(np.ones(3), (x,), lambda g, out: (g.sum() + x * 0,)), (X,), mode=mode)


@MODES
def test_several_inputs_and_several_outputs(mode):
    gradcheck(lambda x, y: [x * y, (x @ y).exp(), y.sum()], (X, Y), mode=mode, order=2)
    with pytest.raises(GradientError):
        gradcheck(lambda x, y: [x * y, off_at(1)(x @ y)], (X, Y), mode=mode)


def test_a_third_order():
    assert gradcheck(lambda x: (x * x * x).exp(), (Y * 0.5,), order=3, mode="random").absolute < 1e-7
    gradcheck(lambda x: record_cube(x), (Y,), order=2)
    with pytest.raises(GradientError):
        gradcheck(lambda x: record_cube(x), (Y,), order=3)


def record_cube(x):
    """x ** 4 whose third derivative is wrong."""

    def rule(g, out):
        return (g * record(x.data**3 * 4, (x,), lambda h, _: (h * 12.0 * x * x.detach(),)),)

    return record(x.data**4, (x,), rule)


def test_empty_and_0_d_inputs():
    assert gradcheck(lambda x: x.exp(), (np.zeros((0, 3)),), order=2) == Errors(0.0, 0.0)
    gradcheck(lambda x: x.exp(), np.array(0.5), order=2)
    gradcheck(lambda x: x.exp(), [np.float64(0.5)], order=2)


def test_only_float64_is_taken():
    for wrong in (X.astype(np.float32), np.arange(3), [1.0, 2.0], 1.0):
        with pytest.raises(TypeError, match="input 1 is .*float64"):
            gradcheck(lambda x, y: x * y, (X, wrong))
    with pytest.raises(GradientError, match="returned float32"):
        gradcheck(lambda x: x.astype(np.float32), (X,))


def test_options_are_checked():
    with pytest.raises(ValueError, match="'ful'"):
        gradcheck(mg.exp, (X,), mode="ful")
    with pytest.raises(ValueError, match="order=0"):
        gradcheck(mg.exp, (X,), order=0)


def test_a_random_function_is_refused():
    numbers = np.random.default_rng(0)
    with pytest.raises(GradientError, match="two different values"):
        gradcheck(lambda x: x * numbers.standard_normal(), (X,))
    gradcheck(partial(mg.dropout, p=0.5, key=(1, 2, 3)), (X,))


def test_inputs_are_neither_written_nor_given_gradients():
    x = Tensor(X.copy(), requires_grad=True)
    gradcheck(mg.exp, (x,), order=2)
    assert np.array_equal(x.data, X)
    assert x.grad is None


@given(arrays(), st.integers(0, 2**32 - 1))
def test_both_modes_see_the_same_function(x, seed):
    """The projection is of the Jacobian: a wrong factor everywhere is caught by both, whatever is drawn."""
    x = np.where(np.abs(x) < 0.1, 0.1, x)
    for mode in ("full", "random"):
        if x.size:
            with pytest.raises(GradientError):
                gradcheck(
                    lambda x: record(x.data * x.data, (x,), lambda g, out: (g * x * 2.01,)), (x,), mode=mode, seed=seed
                )


def test_a_gradient_of_the_wrong_shape_or_dtype_is_caught(monkeypatch):
    monkeypatch.setattr(backward, "_fit_to_parent", lambda g, parent, node: g)
    with pytest.raises(
        GradientError, match=r"of <lambda> with respect to input 1 has shape \(2, 3\) .*the input has shape \(3,\)"
    ):
        gradcheck(lambda x, y: x * y, (X, Y))
    with pytest.raises(GradientError, match="dtype float32; .* dtype float64"):
        gradcheck(lambda x: record(x.data * 2, (x,), lambda g, out: (g.astype(np.float32) * 2,)), (X,))


def test_arrays_of_a_gpu_are_taken_as_they_are():
    with fake_cupy.installed() as cupy:
        x = cupy.asarray(X)
        for mode in ("full", "random"):
            assert gradcheck(lambda x: (x * x).exp(), (x,), mode=mode, order=2).relative < 1e-6
            with pytest.raises(GradientError, match=r"index \(1, 2\)"):
                gradcheck(off_at((1, 2)), (x,), mode=mode)


# ---- the command -----------------------------------------------------------------------------------------------------


def test_without_a_name_the_command_lists_what_it_knows(capsys):
    assert main([]) == 0
    assert set(CATALOGUE) <= set(capsys.readouterr().out.split())


def test_the_command_prints_a_table_with_a_broken_function_that_is_caught(capsys):
    assert main(["attention", "--examples", "4"]) == 0
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith("(")]
    assert len(rows) == 4
    assert all(float(number) < 1e-6 for row in rows for number in row.split()[-4:])
    assert "deliberately broken" in out
    assert "caught\n    the gradient of broken attention with respect to input" in out


def test_the_command_fails_for_a_wrong_gradient_and_for_one_that_is_not_caught(capsys, monkeypatch):
    monkeypatch.setitem(CATALOGUE, "bad", Entry(off_at(0), lambda c: call(c.array((2,)))))
    assert main(["bad", "--examples", "2"]) == 1
    assert "WRONG" in capsys.readouterr().out
    monkeypatch.setitem(CATALOGUE, "flat", Entry(lambda x: x.detach(), lambda c: call(np.zeros((0, 2)))))
    assert main(["flat", "--examples", "2"]) == 1
    assert "NOT CAUGHT" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "advice"), [("atention", "did you mean attention"), ("zzz", "leave the name out")])
def test_an_unknown_name_is_one_sentence_with_near_misses(capsys, name, advice):
    assert main(["exp", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert repr(name) in err
    assert advice in err


def test_choices_repeat_for_a_seed_and_differ_between_seeds():
    def shapes(seed):
        c = Choices(seed)
        return [c.array().tobytes() for _ in range(5)]

    assert shapes(1) == shapes(1)
    assert shapes(1) != shapes(2)
