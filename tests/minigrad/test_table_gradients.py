"""Gradients of every differentiable function: against finite differences, of first and second order, and what else they
must be.
"""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad.gradcheck import gradcheck
from minigrad.gradcheck.catalogue import CATALOGUE
from tests.minigrad import checks
from tests.minigrad.strategies import examples

SMALL = 12  # elements up to which the whole Jacobian is compared
fewer = settings(max_examples=max(4, settings.default.max_examples // 2))
few = settings(max_examples=max(3, settings.default.max_examples // 5))


def check_by_differences(name, example, order, seed):
    small = sum(x.size for x in example.inputs) <= SMALL
    gradcheck(
        partial(CATALOGUE[name].f, **example.options),
        example.inputs,
        mode="full" if small else "random",
        order=order,
        seed=seed,
        name=name,
    )


@pytest.mark.parametrize("name", CATALOGUE)
@given(st.data(), st.integers(0, 2**32 - 1))
def test_first_order(name, data, seed):
    check_by_differences(name, data.draw(examples(name)), 1, seed)


@pytest.mark.parametrize("name", CATALOGUE)
@fewer
@given(st.data(), st.integers(0, 2**32 - 1))
def test_second_order(name, data, seed):
    check_by_differences(name, data.draw(examples(name)), 2, seed)


@pytest.mark.parametrize("name", CATALOGUE)
@few
@given(st.data())
def test_shape_and_dtype_are_those_of_the_input(name, data):
    checks.check_gradients_fit(CATALOGUE[name].f, data.draw(examples(name)))


@pytest.mark.parametrize("name", CATALOGUE)
@few
@given(st.data())
def test_inputs_that_need_no_gradient_change_nothing(name, data):
    checks.check_each_input_alone(CATALOGUE[name].f, data.draw(examples(name)))


@pytest.mark.parametrize("name", CATALOGUE)
@few
@given(st.data())
def test_gradients_add_up(name, data):
    checks.check_accumulation(CATALOGUE[name].f, data.draw(examples(name)))


@pytest.mark.parametrize("name", CATALOGUE)
@fewer
@given(st.data())
def test_no_array_is_written_or_shared(name, data):
    checks.check_memory_is_nobody_elses(CATALOGUE[name].f, data.draw(examples(name)))


@pytest.mark.parametrize("name", CATALOGUE)
@few
@given(st.data())
def test_no_reference_cycles(name, data):
    checks.check_no_cycles(CATALOGUE[name].f, data.draw(examples(name)))
