"""`einsum` takes what NumPy takes, refuses what NumPy refuses, and has the gradients of its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor, einsum, grad, gradcheck
from tests.minigrad.helpers import leaf, seeds

LENGTH = {"i": 2, "j": 3, "k": 2, "l": 1, "A": 3}


@st.composite
def calls(draw: Any, *, valid: bool = True) -> tuple[str, list[tuple[int, ...]]]:
    """Subscripts, and shapes that fit them. Not `valid`: anything may be wrong with them."""
    inputs, shapes = [], []
    extra = draw(st.lists(st.integers(1, 3), max_size=2))  # the axes of `...`
    for _ in range(draw(st.integers(1, 3))):
        letters = "".join(draw(st.lists(st.sampled_from("ijklA"), max_size=3)))
        shape = [LENGTH[c] for c in letters]
        if draw(st.integers(0, 2)) == 0:
            position = draw(st.integers(0, len(letters)))
            axes = [n if draw(st.booleans()) else 1 for n in extra[draw(st.integers(0, len(extra))) :]]
            letters = letters[:position] + "..." + letters[position:]
            shape[position:position] = axes
        if not valid and shape and draw(st.integers(0, 3)) == 0:
            shape[draw(st.integers(0, len(shape) - 1))] = draw(st.integers(1, 4))
        inputs.append(letters)
        shapes.append(tuple(shape))
    used = sorted(set("".join(inputs)) - {"."})
    choice = draw(st.integers(0, 2))
    if choice == 0:
        return ",".join(inputs), shapes  # the result is left out
    output = "".join(draw(st.permutations(used))[: draw(st.integers(0, len(used)))])
    if any("..." in part for part in inputs) or choice == 2:
        position = draw(st.integers(0, len(output)))
        output = output[:position] + "..." + output[position:]
    if not valid:
        output = draw(st.sampled_from([output, output + "j", output.replace("...", ""), output + ".", output + "z"]))
    return f"{','.join(inputs)}->{output}", shapes


def arrays(seed: int, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


@given(calls(), seeds)
def test_values_are_those_of_numpy(call: tuple, seed: int) -> None:
    subscripts, shapes = call
    xs = arrays(seed, shapes)
    np.testing.assert_allclose(einsum(subscripts, *xs).data.astype(float), np.einsum(subscripts, *xs), atol=1e-12)


@given(calls(valid=False), seeds)
def test_what_numpy_refuses_is_refused_with_one_sentence(call: tuple, seed: int) -> None:
    subscripts, shapes = call
    xs = arrays(seed, shapes)
    try:
        expected = np.einsum(subscripts, *xs)
    except ValueError:
        with pytest.raises(ValueError, match=r"^einsum") as caught:
            einsum(subscripts, *xs)
        assert "\n" not in str(caught.value)
    else:
        np.testing.assert_allclose(einsum(subscripts, *xs).data, expected, atol=1e-12)


@given(calls(), seeds)
def test_gradients_of_two_orders(call: tuple, seed: int) -> None:
    subscripts, shapes = call
    xs = arrays(seed, shapes)
    gradcheck(lambda *tensors: einsum(subscripts, *tensors), xs, order=2, mode="random", seed=seed)


@pytest.mark.parity
@given(calls(), seeds)
def test_gradients_are_those_of_torch(call: tuple, seed: int) -> None:
    torch = pytest.importorskip("torch")
    subscripts, shapes = call
    xs = arrays(seed, shapes)
    theirs = [torch.tensor(x, requires_grad=True) for x in xs]
    torch.einsum(subscripts, *theirs).sin().sum().backward()
    ours = [leaf(x) for x in xs]
    einsum(subscripts, *ours).sin().sum().backward()
    for x, y in zip(ours, theirs):
        np.testing.assert_allclose(x.grad.data, y.grad.numpy() if y.grad is not None else 0 * x.data, atol=1e-11)


def test_traces_and_diagonals() -> None:
    a = leaf(np.arange(9.0).reshape(3, 3))
    assert einsum("ii->", a).item() == einsum("ii", a).item() == 12
    assert einsum("ii->i", a).data.tolist() == [0, 4, 8]
    assert grad(einsum("ii", a), a).data.tolist() == np.eye(3).tolist()


def test_an_axis_of_length_1_is_no_diagonal_of_a_longer_one() -> None:
    with pytest.raises(ValueError, match="equally long"):
        einsum("ii->i", np.ones((1, 3)))


def test_lists_of_numbers_in_place_of_letters() -> None:
    x, y = np.ones((2, 3)), np.arange(12.0).reshape(3, 4)
    for numbers in ([2, 0], (2, 0), np.array([2, 0])):
        expected = np.einsum(x, [0, 1], y, [1, 2], numbers)
        np.testing.assert_array_equal(einsum(leaf(x), [0, 1], Tensor(y), [1, 2], numbers).data, expected)
    np.testing.assert_array_equal(einsum(y, [..., 30, 1]).data, np.einsum(y, [..., 30, 1]))
    for wrong in ([-1, 0], [52, 0], ["i", "j"], 3):
        with pytest.raises(TypeError, match="list of numbers from 0 to 51"):
            einsum(x, wrong)
