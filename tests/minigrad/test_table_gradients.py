"""Gradients of every function of the catalogue: compared with finite differences, and other rules they obey."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad.gradcheck import gradcheck
from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.gradcheck.choices import Example
from tests.minigrad import checks
from tests.minigrad.helpers import seeds
from tests.minigrad.strategies import examples

MAX_ELEMENTS = 12  # of the inputs: up to this size the whole Jacobian is compared, beyond it a random projection


def fewer(divisor: int) -> settings:
    return settings(max_examples=max(4, settings.default.max_examples // divisor))


def compare_with_differences(name: str, example: Example, order: int, seed: int) -> None:
    small = sum(x.size for x in example.inputs) <= MAX_ELEMENTS
    f = partial(CATALOGUE[name].f, **example.options)
    gradcheck(f, example.inputs, mode="full" if small else "random", order=order, seed=seed, name=name)


@pytest.mark.parametrize("name", CATALOGUE)
@given(data=st.data(), seed=seeds)
def test_first_derivatives_equal_finite_differences(name: str, data: st.DataObject, seed: int) -> None:
    compare_with_differences(name, data.draw(examples(name)), 1, seed)


@pytest.mark.parametrize("name", CATALOGUE)
@fewer(2)
@given(data=st.data(), seed=seeds)
def test_second_derivatives_equal_finite_differences(name: str, data: st.DataObject, seed: int) -> None:
    compare_with_differences(name, data.draw(examples(name)), 2, seed)


@pytest.mark.parametrize("name", CATALOGUE)
@fewer(2)
@given(data=st.data())
def test_no_array_is_written_or_shared(name: str, data: st.DataObject) -> None:
    checks.check_memory_is_separate(CATALOGUE[name].f, data.draw(examples(name)))


RULES: dict[str, Callable[[Callable, Example], None]] = {
    "shape and dtype are those of the input": checks.check_gradients_fit,
    "inputs that need no gradient change nothing": checks.check_each_input_alone,
    "gradients of two calls add up": checks.check_accumulation,
    "no reference cycles": checks.check_no_cycles,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CATALOGUE)
@fewer(5)
@given(data=st.data())
def test_gradients_obey_the_rule(name: str, rule: str, data: st.DataObject) -> None:
    RULES[rule](CATALOGUE[name].f, data.draw(examples(name)))
