"""What the engine asks of a gradient rule: one gradient for each input, in a shape that belongs to that input.

A rule with a mistake is met by an error that names the op. Nothing is summed until it fits.
"""

from __future__ import annotations

import inspect
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, grad, hvp, jvp, nn, vjp
from minigrad.backward import backpropagate
from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.gradcheck.choices import Choices
from minigrad.lazy import LazyGradient
from minigrad.tensor import record
from tests.minigrad.helpers import leaf
from tests.minigrad.strategies import choices, examples

shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)


def my_op(inputs: list[Tensor], shape: tuple[int, ...], rule: Any) -> Tensor:
    return record(np.zeros(shape), inputs, lambda g, out: rule(g))


# --- shapes -----------------------------------------------------------------------------------------------------------


@given(shapes, shapes, shapes, st.booleans(), st.booleans())
@example((), (1,), (1,), True, True)
def test_a_gradient_of_one_input_has_its_shape_or_that_of_the_result(
    before: tuple, result: tuple, given_shape: tuple, lazy: bool, create_graph: bool
) -> None:
    x = leaf(np.zeros(before))
    g = np.ones(given_shape)
    out = my_op([x], result, lambda _: [LazyGradient(g, lambda out: out.fill(1)) if lazy else g])
    fits = given_shape == before or (not lazy and given_shape == result and broadcasts(before, result))
    if fits:
        out.backward(np.zeros(result), create_graph=create_graph)
        assert x.grad.shape == before
    else:
        with pytest.raises(ValueError, match="gradient rule of 'my_op' returned a gradient of shape"):
            out.backward(np.zeros(result), create_graph=create_graph)


def broadcasts(shape: tuple, to: tuple) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


@given(shapes, st.integers(1, 6), st.booleans())  # 1 to 3 are also lengths of axes that the inputs have
def test_whether_another_input_is_a_constant_makes_no_difference(before: tuple, extra: int, constant: bool) -> None:
    """A gradient with an axis that no input has is an error, also if the shapes of the others need no gradient."""
    x, y = leaf(np.zeros(before)), Tensor(np.zeros(before), requires_grad=not constant)
    out = my_op([x, y], before, lambda g: [np.ones((extra, *before)), None])
    with pytest.raises(ValueError, match="'my_op'"):
        out.backward(np.zeros(before))


@given(shapes, shapes)
def test_a_gradient_with_the_shape_to_which_another_input_broadcasts_is_summed(before: tuple, other: tuple) -> None:
    assume(broadcasts(before, other))
    for constant in (Tensor(np.zeros(other)), leaf(np.zeros(other))):
        x = leaf(np.zeros(before))
        my_op([x, constant], (), lambda g: [np.ones(other), None]).backward()
        np.testing.assert_array_equal(x.grad.data, np.full(before, np.prod(other) / np.prod(before)))


# --- the number of gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_and_too_many_gradients_are_errors(count: int, create_graph: bool) -> None:
    out = my_op([leaf(1.0), leaf(1.0)], (), lambda g: [g] * count)
    with pytest.raises(ValueError, match=f"gradient rule of 'my_op' returned {count} gradients for 2 inputs"):
        out.backward(create_graph=create_graph)


@pytest.mark.parametrize("returned", [np.ones(2), np.ones((2, 2)), Tensor(np.ones(2)), 1.0, None, {1: 2}])
def test_a_rule_that_returns_no_tuple_is_an_error(returned: Any) -> None:
    """An array of two rows would be taken apart as the gradients of two inputs."""
    out = my_op([leaf([1.0, 2.0]), leaf([1.0, 2.0])], (2,), lambda g: returned)
    with pytest.raises(TypeError, match=f"'my_op' returned {type(returned).__name__}; it must return a tuple"):
        out.backward(np.ones(2))


# --- derivatives as functions -----------------------------------------------------------------------------------------


@given(choices())
def test_an_array_is_one_input(c: Choices) -> None:
    a, v = c.array(c.shape(1, min_length=1)), c.generator()

    def f(x: Tensor) -> Tensor:
        return (x * x * x).sum()

    direction = v.normal(size=a.shape)
    for x in (a, Tensor(a), [a]):
        wrap = (lambda y: [y]) if isinstance(x, list) else (lambda y: y)
        unwrap = (lambda y: y[0]) if isinstance(x, list) else (lambda y: y)
        np.testing.assert_allclose(unwrap(vjp(f, x)[1]).data, 3 * a * a, rtol=1e-12)
        np.testing.assert_allclose(jvp(f, x, wrap(direction))[1].data, (3 * a * a * direction).sum(), rtol=1e-9)
        np.testing.assert_allclose(unwrap(hvp(f, x, wrap(direction))[1]).data, 6 * a * direction, rtol=1e-12)


@pytest.mark.parametrize("number", [np.float64(2.0), np.array(2.0), 2.0])
def test_a_number_is_one_input(number: Any) -> None:
    value, product = hvp(lambda x: x * x, number, 1.0)
    assert (value.item(), product.item()) == (4, 2)


def test_wrong_inputs_of_derivatives_are_named() -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(ValueError, match="v is longer than expected: 2 for 1 tensors"):
        jvp(lambda x: x, [x], np.ones((2, 2)).tolist())
    with pytest.raises(TypeError, match="must return one tensor, but it returned tuple"):
        vjp(lambda x: (x, x), x)
    with pytest.raises(TypeError, match="not ndarray"):
        grad(x.sum(), np.ones(2))
    assert grad(x.sum(), []) == ()


# --- what is freed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CATALOGUE)
@given(data=st.data())
def test_backward_frees_the_graph_unless_it_is_asked_to_keep_it(name: str, data: st.DataObject) -> None:
    example = data.draw(examples(name))
    out = CATALOGUE[name].f(*[Tensor(x, requires_grad=True) for x in example.inputs], **example.options)
    out = out[0] if isinstance(out, list) else out
    assume(out.node is not None)  # dropout with p=0 is the input itself
    rule = weakref.ref(out.node.vjp)
    out.backward(np.ones(out.shape), retain_graph=True)
    assert rule() is not None
    out.backward(np.ones(out.shape))
    assert rule() is None, "what the rule saved is still in memory"
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        out.backward(np.ones(out.shape))


@pytest.mark.parametrize(
    "free",
    [
        lambda y, x: y.backward(),
        lambda y, x: grad(y, x),
        lambda y, x: backpropagate([(y, np.ones(()))], lambda leaf, gradient: None),
    ],
)
def test_a_graph_is_freed_by_every_way_to_differentiate(free: Any) -> None:
    x = leaf([1.0, 2.0])
    between = x.exp()
    y = (between * between).sum()
    alive = weakref.ref(between.node.vjp)
    del between
    free(y, x)
    assert alive() is None
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        free(y, x)


# --- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.reference is not None])
def test_a_reference_has_the_arguments_and_defaults_of_its_function(name: str) -> None:
    function, reference = (
        dict(inspect.signature(getattr(mg, each)).parameters) for each in (name, f"{name}_reference")
    )
    function.pop("chunk", None)  # how much is computed at a time: it changes no value
    described = [[(p.name, p.kind, p.default) for p in each.values()] for each in (function, reference)]
    assert described[0] == described[1]


@pytest.mark.parametrize(("layer", "function", "option"), [
    (nn.LayerNorm, mg.layer_norm, "eps"), (nn.RMSNorm, mg.rms_norm, "eps"), (nn.GELU, mg.gelu, "approximate"),
    (nn.Softmax, mg.softmax, "axis"), (nn.LogSoftmax, mg.log_softmax, "axis"),
])  # fmt: skip
def test_a_layer_has_the_default_of_its_function(layer: Any, function: Any, option: str) -> None:
    defaults = [inspect.signature(each).parameters[option].default for each in (layer, function)]
    assert defaults[0] == defaults[1]
