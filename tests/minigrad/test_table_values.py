"""Values of every function of the catalogue, over drawn shapes, axes, memory layouts and options.

And the catalogue is complete; functions without a gradient are tested here one by one.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor
from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.gradcheck.choices import Choices
from tests.minigrad import checks
from tests.minigrad.references import REFERENCES
from tests.minigrad.strategies import choices, examples

# fmt: off
NOT_DIFFERENTIABLE = {
    "less", "less_equal", "equal", "greater", "greater_equal", "not_equal", "isnan", "isfinite", "argmax", "argmin",
    "stop_gradient"}
NOT_FUNCTIONS_OF_TENSORS = {
    "Tensor", "checkpoint", "debug_arrays", "detect_anomaly", "draw", "full", "grad", "gradcheck", "hvp", "jvp",
    "no_grad", "ones", "ones_like", "profile", "rope_tables", "seed", "vjp", "zeros", "zeros_like", "fused", "methods",
    "nn", "ops", "optim"}
# fmt: on


def test_the_catalogue_is_complete() -> None:
    public = {name for name in mg.__all__ if not name.endswith("_reference")}
    assert public - NOT_DIFFERENTIABLE - NOT_FUNCTIONS_OF_TENSORS == set(CATALOGUE) == set(REFERENCES)
    fused = {name for name, entry in CATALOGUE.items() if entry.reference is not None}
    assert {name.removesuffix("_reference") for name in mg.__all__ if name.endswith("_reference")} == fused


@pytest.mark.control
def test_a_function_that_is_missing_in_the_catalogue_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mg, "__all__", [*mg.__all__, "new_function"])
    with pytest.raises(AssertionError, match="new_function"):
        test_the_catalogue_is_complete()


@pytest.mark.parametrize("name", CATALOGUE)
@given(data=st.data())
def test_value_is_that_of_numpy(name: str, data: st.DataObject) -> None:
    checks.check_value(CATALOGUE[name].f, REFERENCES[name], data.draw(examples(name)))


@pytest.mark.parametrize("name", CATALOGUE)
@given(data=st.data())
def test_value_is_the_same_without_recording(name: str, data: st.DataObject) -> None:
    checks.check_recording_changes_nothing(CATALOGUE[name].f, data.draw(examples(name)))


@pytest.mark.parametrize("name", CATALOGUE)
@given(data=st.data())
def test_float32_is_close_to_float64(name: str, data: st.DataObject) -> None:
    checks.check_float32(CATALOGUE[name].f, data.draw(examples(name)))


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.reference])
@given(data=st.data())
def test_fused_equals_its_reference(name: str, data: st.DataObject) -> None:
    entry = CATALOGUE[name]
    checks.check_fused(entry.f, entry.reference, data.draw(examples(name)))


@pytest.mark.parametrize("name", ["less", "less_equal", "equal", "greater", "greater_equal", "not_equal"])
@given(c=choices())
def test_comparisons(name: str, c: Choices) -> None:
    x, y = (np.round(c.array(shape)) for shape in c.shapes(2))
    out = getattr(mg, name)(Tensor(x, requires_grad=True), Tensor(y, requires_grad=True))
    assert not out.requires_grad
    assert out.dtype == bool
    assert np.array_equal(out.data, getattr(np, name)(x, y))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@given(c=choices())
def test_argmax_and_argmin(name: str, c: Choices) -> None:
    x = np.round(c.array(c.shape(1, min_length=1)))
    axis, keepdims = c.pick((None, c.axis(x.ndim))), c.flag()
    out = getattr(mg, name)(Tensor(x, requires_grad=True), axis=axis, keepdims=keepdims)
    assert not out.requires_grad
    assert np.array_equal(out.data, getattr(np, name)(x, axis=axis, keepdims=keepdims))


@pytest.mark.parametrize("name", ["isnan", "isfinite"])
def test_isnan_and_isfinite(name: str) -> None:
    x = np.array([0.0, -1.0, np.nan, np.inf, -np.inf])
    out = getattr(mg, name)(Tensor(x, requires_grad=True))
    assert not out.requires_grad
    assert np.array_equal(out.data, getattr(np, name)(x))


def test_stop_gradient_is_a_constant_factor() -> None:
    x = Tensor(np.array([2.0, 3.0]), requires_grad=True)
    (mg.stop_gradient(x * x) * x).sum().backward()
    assert x.grad.numpy().tolist() == [4.0, 9.0]
