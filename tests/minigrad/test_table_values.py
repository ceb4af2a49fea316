"""Values of every differentiable function, over drawn shapes, axes, layouts in memory and options; and that none is
missing here.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor
from minigrad.gradcheck.catalogue import CATALOGUE
from tests.minigrad import checks
from tests.minigrad.references import REFERENCES
from tests.minigrad.strategies import choices, examples

# fmt: off
NOT_DIFFERENTIABLE = {
    "less", "less_equal", "equal", "greater", "greater_equal", "not_equal", "isnan", "isfinite", "argmax", "argmin",
    "stop_gradient"}
# fmt: on
# fmt: off
NOT_FUNCTIONS_OF_TENSORS = {
    "Tensor", "checkpoint", "debug_arrays", "detect_anomaly", "draw", "grad", "gradcheck", "hvp", "jvp", "no_grad",
    "profile",
    "rope_tables", "seed", "vjp", "fused", "methods", "nn", "ops", "optim"}
# fmt: on


def test_the_table_is_complete():
    public = {name for name in mg.__all__ if not name.endswith("_reference")}
    assert public - NOT_DIFFERENTIABLE - NOT_FUNCTIONS_OF_TENSORS == set(CATALOGUE) == set(REFERENCES)
    fused = {name for name, entry in CATALOGUE.items() if entry.reference is not None}
    assert {name.removesuffix("_reference") for name in mg.__all__ if name.endswith("_reference")} == fused


def test_negative_control_a_new_function_is_missed(monkeypatch):
    monkeypatch.setattr(mg, "__all__", [*mg.__all__, "new_function"])
    with pytest.raises(AssertionError, match="new_function"):
        test_the_table_is_complete()


@pytest.mark.parametrize("name", CATALOGUE)
@given(st.data())
def test_value_is_that_of_numpy(name, data):
    checks.check_value(CATALOGUE[name].f, REFERENCES[name], data.draw(examples(name)))


@pytest.mark.parametrize("name", CATALOGUE)
@given(st.data())
def test_value_is_the_same_unrecorded(name, data):
    checks.check_recording_changes_nothing(CATALOGUE[name].f, data.draw(examples(name)))


@pytest.mark.parametrize("name", CATALOGUE)
@given(st.data())
def test_float32_is_close_to_float64(name, data):
    checks.check_float32(CATALOGUE[name].f, data.draw(examples(name)))


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.reference])
@given(st.data())
def test_fused_equals_its_reference(name, data):
    entry = CATALOGUE[name]
    checks.check_fused(entry.f, entry.reference, data.draw(examples(name)))


COMPARISONS = {
    "less": np.less,
    "less_equal": np.less_equal,
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "not_equal": np.not_equal,
}


@pytest.mark.parametrize("name", COMPARISONS)
@given(choices())
def test_comparisons(name, c):
    x, y = (np.round(c.array(shape)) for shape in c.shapes(2))
    out = getattr(mg, name)(Tensor(x, requires_grad=True), Tensor(y, requires_grad=True))
    assert not out.requires_grad
    assert out.dtype == bool
    assert np.array_equal(out.data, COMPARISONS[name](x, y))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@given(choices())
def test_places_of_extremes(name, c):
    x = np.round(c.array(c.shape(1, least=1)))
    axis, keepdims = c.pick((None, c.axis(x.ndim))), c.flag()
    out = getattr(mg, name)(Tensor(x, requires_grad=True), axis=axis, keepdims=keepdims)
    assert not out.requires_grad
    assert np.array_equal(out.data, getattr(np, name)(x, axis=axis, keepdims=keepdims))


@pytest.mark.parametrize("name", ["isnan", "isfinite"])
def test_tests_for_special_numbers(name):
    x = np.array([0.0, -1.0, np.nan, np.inf, -np.inf])
    out = getattr(mg, name)(Tensor(x, requires_grad=True))
    assert not out.requires_grad
    assert np.array_equal(out.data, getattr(np, name)(x))


def test_stop_gradient_is_a_constant_factor():
    x = Tensor(np.array([2.0, 3.0]), requires_grad=True)
    (mg.stop_gradient(x * x) * x).sum().backward()
    assert x.grad.numpy().tolist() == [4.0, 9.0]
