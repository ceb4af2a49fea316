"""Arguments in every form that NumPy takes: the value and the gradient are those of plain integers and tuples.

And what cannot be an argument is met by one sentence. The catalogue draws plain integers only, so that forms, which
have nothing to do with gradients, are drawn here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, ops
from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.gradcheck.choices import Choices
from tests.minigrad.checks import as_tuple, backward, leaves
from tests.minigrad.helpers import leaf, seeds
from tests.minigrad.strategies import choices, examples

# Names of arguments that are whole numbers, one or several.
WHOLE = {"axis", "axis1", "axis2", "axes", "shape", "shift", "k", "indices_or_sections", "pad_width", "ddof"}
FORMS: list[Callable[[Any], Any]] = [np.int64, np.int8, np.uint8, np.array, list, np.asarray, Tensor]


def in_form(value: Any, form: Callable) -> Any:
    """A whole number, or a tuple of them, in another form; as it is where that form cannot be."""
    if isinstance(value, bool) or value is None:
        return value
    smallest = np.min(value) if np.size(value) else 0
    if smallest < 0 and form is np.uint8:
        form = np.int64
    if isinstance(value, int):
        return value if form in (list, np.asarray) else form(np.array(value)) if form is Tensor else form(value)
    if form is list:
        return [in_form(item, list) for item in value]
    if form is np.asarray:
        return np.asarray(value, np.intp)
    return tuple(in_form(item, form) for item in value)


def value_and_gradients(f: Callable, example: Any, options: dict) -> list[np.ndarray]:
    example = example._replace(options=options)
    outs = as_tuple(f(*leaves(example), **options))
    return [*(out.data for out in outs), *backward(f, example, leaves(example))]


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.reference is None])
@given(data=st.data())
def test_whole_numbers_in_all_forms_give_what_plain_ones_give(name: str, data: st.DataObject) -> None:
    example, form = data.draw(examples(name)), data.draw(st.sampled_from(FORMS))
    options = {key: in_form(value, form) if key in WHOLE else value for key, value in example.options.items()}
    if "keepdims" in options:
        options["keepdims"] = data.draw(st.sampled_from([bool, np.bool, int]))(options["keepdims"])
    f = CATALOGUE[name].f
    expected = value_and_gradients(f, example, example.options)
    for a, b in zip(value_and_gradients(f, example, options), expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@given(seeds, st.integers(1, 300), st.integers(-300, 300))
def test_a_shift_of_any_type_rolls_the_gradient_back(seed: int, n: int, shift: int) -> None:
    """-np.uint8(2) is 254: only in an axis whose length divides 256 is that the way back."""
    fitting = [t for t in (np.int8, np.uint8, np.int16, np.int64) if np.iinfo(t).min <= shift <= np.iinfo(t).max]
    g = np.random.default_rng(seed).normal(size=n)
    for dtype in fitting:
        x = leaf(np.zeros(n))
        ops.roll(x, dtype(shift)).backward(g)
        np.testing.assert_array_equal(x.grad.data, np.roll(g, -shift))


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "var", "std", "logsumexp", "softmax", "squeeze"])
@pytest.mark.parametrize("axis", [0, -1, (), None, np.int64(0)])
def test_a_single_number_can_be_reduced_forward_and_back(name: str, axis: Any) -> None:
    x = leaf(3.0)
    getattr(ops, name)(x, axis).backward()
    assert x.grad.shape == ()


@pytest.mark.parametrize("f", [ops.var, ops.std])
def test_ddof_of_a_small_type_costs_no_digits(f: Callable) -> None:
    """1 / np.uint8(19) is a float16, and 300 - np.uint8(1) does not fit."""
    for n in (20, 301):
        a = np.random.default_rng(n).normal(size=n)
        x, y = leaf(a), leaf(a)
        f(x, ddof=np.uint8(1)).backward()
        f(y, ddof=1).backward()
        np.testing.assert_array_equal(x.grad.data, y.grad.data)


def test_a_vector_has_one_axis_to_transpose_and_pad_takes_a_dict_of_axes() -> None:
    for axes in (0, (Tensor(np.array(0)),)):
        x = leaf([1.0, 2.0])
        ops.transpose(x, axes).backward(np.array([3.0, 4.0]))
        assert x.grad.data.tolist() == [3, 4]
    y = leaf(np.ones((2, 3)))
    padded = ops.pad(y, {-1: (1, 2)})
    padded.sum().backward()
    assert padded.shape == (2, 6)
    assert (y.grad.data == 1).all()


def test_integer_tensors_are_bounds_of_slices_axes_and_counts() -> None:
    one, two = Tensor(np.array(1)), Tensor(np.array(2))
    x = leaf([[1.0, 2.0, 3.0]])
    x[:, one:two].sum(axis=one).backward(np.array([5.0]))
    assert x.grad.data.tolist() == [[0, 5, 0]]
    assert list(range(two)) == [0, 1]
    with pytest.raises(TypeError, match="integer"):
        range(Tensor(2.0))


# --- what is refused --------------------------------------------------------------------------------------------------

WRONG: list[Any] = ["a", 1.5, {}, 1j, object(), np.ones((3, 7)), float("nan"), [[1, 2], [3]]]
UNHELPFUL = (
    "ufunc", "signature", "cannot be interpreted", "has no attribute", "unsupported operand", "not supported between",
    "missing", "unpack", "iterable", "unhashable", "truth value", " at 0x", "\n", "modulo by zero",
)  # fmt: skip


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.reference is None])
@given(data=st.data())
def test_a_wrong_whole_number_or_input_is_one_sentence(name: str, data: st.DataObject) -> None:
    example = data.draw(examples(name))
    key = data.draw(st.sampled_from(["input", *sorted(WHOLE & example.options.keys())]))
    wrong = data.draw(st.sampled_from(WRONG))
    xs: list[Any] = leaves(example)
    options = dict(example.options)
    if key == "input":
        xs[0] = data.draw(st.sampled_from([None, "a", {}, 1j, object(), np.array("a"), np.array(1j)]))
    else:
        options[key] = wrong
    if key == "ddof" and isinstance(wrong, float) or key == "pad_width" and isinstance(wrong, dict):
        return  # a fraction is a number of degrees of freedom, and a dict without axes pads none
    with pytest.raises((TypeError, ValueError, IndexError)) as caught:  # np.exceptions.AxisError is a ValueError
        CATALOGUE[name].f(*xs, **options)
    sentence = str(caught.value)
    assert sentence
    assert [word for word in UNHELPFUL if word in sentence] == [], sentence


@pytest.mark.parametrize("number", ["a", None, 1j, {}, np.complex64(1), np.datetime64("2020"), np.str_("a")])
def test_an_operand_that_is_no_number_is_named(number: Any) -> None:
    x = leaf([1.0])
    for f in (
        lambda: x + number,
        lambda: number - x,
        lambda: x * number,
        lambda: x < number,
        lambda: mg.add(x, number),
    ):
        with pytest.raises(TypeError, match="numbers, not|complex|datetime|NotImplemented") as caught:
            f()
        assert "\n" not in str(caught.value)


def test_a_tensor_equals_nothing_that_is_no_number() -> None:
    x = leaf([1.0])
    assert (x == None) is False  # noqa: E711
    assert (x != "a") is True
    assert (x == 1).data.tolist() == [True]


@pytest.mark.parametrize("take", [ops.take, ops.take_along_axis])
@pytest.mark.parametrize("indices", [[0.5, 1.0], [True, False], np.array([1.0])])
def test_take_refuses_fractions_and_masks_instead_of_rounding_them(take: Callable, indices: Any) -> None:
    with pytest.raises(TypeError, match="whole numbers as indices"):
        take(leaf([1.0, 2.0]), indices, 0)


# --- kinds of data ----------------------------------------------------------------------------------------------------


@given(choices())
def test_a_matrix_of_numpy_multiplies_elements(c: Choices) -> None:
    n = c.integer(1, 3)
    a, b = c.array((n, n)), c.array((n, n))
    out = Tensor(np.matrix(a)) * np.matrix(b)
    assert type(out.data) is np.ndarray
    np.testing.assert_array_equal(out.data, a * b)


@pytest.mark.parametrize(
    "make",
    [
        Tensor, ops.exp, lambda a: ops.where(a, 1.0, 2.0), lambda a: Tensor([[0.0, 1.0], a]),
        lambda a: leaf(1.0) + a, lambda a: a + leaf(1.0), lambda a: a * Tensor(1.0), lambda a: a - leaf([1.0, 2.0]),
        lambda a: a / leaf(1.0), lambda a: a ** leaf(1.0), lambda a: a == leaf(1.0), lambda a: a.__iadd__(leaf(1.0)),
        lambda a: np.add(a, leaf(1.0)), lambda a: np.ma.add(a, leaf(1.0)), lambda a: np.ma.exp(leaf(1.0)),
        lambda a: np.ma.where([True, False], a, leaf(1.0)), lambda a: leaf([1.0, 2.0, 3.0])[a.astype(int)],
        lambda a: leaf(np.ones((3, 3)))[0, a.astype(int)], lambda a: ops.take(leaf([1.0, 2.0]), a.astype(int) - 1),
        lambda a: ops.scatter(leaf([1.0, 2.0]), a.astype(int), 3),
    ],
)  # fmt: skip
def test_a_masked_array_does_not_lose_its_mask_nor_a_tensor_its_gradient(make: Callable) -> None:
    with pytest.raises(TypeError, match=r"a\.filled\(0\)"):
        make(np.ma.array([1.0, 2.0], mask=[False, True]))


Q, Z, TARGETS = np.ones((1, 1, 2, 2), np.float32), np.ones((2, 3), np.float32), np.array([0, 1])
CONSTANTS: dict[str, Callable[[Any], Any]] = {
    "fill_value": lambda t: mg.full((2,), t),
    "constant_values": lambda t: mg.pad(leaf([1.0]), 1, t),
    "np.pad": lambda t: np.pad(leaf([1.0]), 1, constant_values=t),
    "np.full_like": lambda t: np.full_like(leaf([1.0]), t),
    "clip": lambda t: mg.clip(leaf([1.0]), t, None),
    "ddof": lambda t: mg.var(leaf([1.0, 2.0]), ddof=t),
    "ddof of std": lambda t: mg.std(leaf([1.0, 2.0]), ddof=t),
    "eps of layer_norm": lambda t: mg.layer_norm(Z, eps=t),
    "eps of rms_norm": lambda t: mg.rms_norm(Z, eps=t),
    "scale": lambda t: mg.attention(Q, Q, Q, scale=t),
    "label_smoothing": lambda t: mg.cross_entropy(Z, TARGETS, label_smoothing=t),
    "z_loss": lambda t: mg.linear_cross_entropy(Z, Z, TARGETS, z_loss=t),
    "soft_cap": lambda t: mg.linear_cross_entropy(Z, Z, TARGETS, soft_cap=t),
    "p": lambda t: mg.dropout(Z, t),
    "p of nn.Dropout": lambda t: mg.nn.Dropout(t),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_that_requires_a_gradient_is_refused_because_the_gradient_would_be_lost(name: str) -> None:
    with pytest.raises(TypeError, match="constant|no gradient") as caught:
        CONSTANTS[name](leaf(0.5))
    assert "\n" not in str(caught.value)
    CONSTANTS[name](leaf(0.5).detach())


@pytest.mark.parametrize("data", [1j, "a", [None], {}, np.array(["a"]), np.array([1j]), np.zeros(2, [("a", "f4")])])
def test_a_tensor_holds_real_numbers(data: Any) -> None:
    with pytest.raises(TypeError, match="booleans, integers or floating-point numbers"):
        Tensor(data)
    assert Tensor(np.ones(1, bool)).dtype == bool


def test_arrays_of_other_libraries_keep_their_dtype() -> None:
    class Wrapped:
        dtype = np.dtype(np.float64)

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.ones(2)

    assert Tensor(Wrapped()).dtype == np.float64


@pytest.mark.parametrize("nest", [lambda x: [x, x], lambda x: ([1.0], [x]), lambda x: [[[x]]]])
def test_a_list_of_variables_does_not_become_a_constant(nest: Callable) -> None:
    with pytest.raises(TypeError, match=r"minigrad\.stack"):
        Tensor(nest(leaf(1.0)))
    with pytest.raises(TypeError, match=r"minigrad\.stack"):
        leaf(2.0) * nest(leaf(1.0))
    assert Tensor([Tensor(1.0), Tensor(2.0)]).data.tolist() == [1, 2]
