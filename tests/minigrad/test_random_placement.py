"""Parts of a batch that are placed draw their parts of the masks of the whole batch."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, random
from minigrad.checkpoint import checkpoint
from minigrad.fused.attention import attention, attention_reference
from minigrad.fused.dropout import keep_mask
from minigrad.random import Part, placed

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def divided_arrays(draw: st.DrawFn, axes: int = 3) -> tuple[tuple[int, ...], list[Part]]:
    """The shape of an array, and a part along each axis that is divided."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=axes, max_size=axes)))
    parts = []
    for axis in draw(st.sets(st.integers(0, axes - 1))):
        start, stop = sorted(draw(st.tuples(*[st.integers(0, shape[axis])] * 2).filter(lambda ends: ends[0] < ends[1])))
        parts.append(Part(axis, start, stop, shape[axis]))
    return shape, parts


def sliced(array: np.ndarray, parts: list[Part]) -> np.ndarray:
    ends = {part.axis: slice(part.start, part.stop) for part in parts}
    return array[tuple(ends.get(axis, slice(None)) for axis in range(array.ndim))]


def check_part(shape: tuple[int, ...], parts: list[Part], seed: int) -> None:
    random.seed(seed)
    whole = mg.dropout(Tensor(np.ones(shape)), 0.5).data
    random.seed(seed)
    x = Tensor(np.ones(sliced(whole, parts).shape), requires_grad=True)
    with placed(*parts):
        y = mg.dropout(x, 0.5)
    y.sum().backward()  # outside of `placed`: the key remembers it
    for found in y.data, x.grad.data:
        np.testing.assert_array_equal(found, sliced(whole, parts))


@given(divided=divided_arrays(), seed=SEEDS)
def test_a_part_has_its_part_of_the_mask_in_values_and_gradients(divided: tuple, seed: int) -> None:
    check_part(*divided, seed)


@given(divided=divided_arrays(), seed=SEEDS)
def test_a_checkpoint_in_a_part_draws_the_same_mask_again(divided: tuple, seed: int) -> None:
    shape, parts = divided
    x = Tensor(np.ones(sliced(np.ones(shape), parts).shape), requires_grad=True)
    random.seed(seed)
    with placed(*parts):
        y = checkpoint(lambda x: mg.dropout(x, 0.5) * 1, x)
    with placed(Part(0, 7, 8, 9)):  # that of another micro-batch
        y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, y.data)


@pytest.mark.parametrize("function", [attention, attention_reference])
@given(rows=st.integers(1, 3), heads=st.integers(1, 3), group=st.integers(1, 2), seed=SEEDS, data=st.data())
def test_rows_and_heads_of_attention_have_their_weights_dropped(
    function: object, rows: int, heads: int, group: int, seed: int, data: st.DataObject
) -> None:
    H, T, D = heads * group, 5, 2
    q = np.random.default_rng(seed).standard_normal((rows, H, T, D))
    k, v = np.random.default_rng(seed + 1).standard_normal((2, rows, heads, T, D))
    b, h = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, heads - 1))
    random.seed(seed)
    whole = function(q, k, v, dropout=0.5).data
    random.seed(seed)
    with placed(Part(0, b, b + 1, rows), Part(1, h * group, (h + 1) * group, H)):
        part = function(q[b : b + 1, h * group : (h + 1) * group], k[b : b + 1, h : h + 1], v[b : b + 1, h : h + 1],
                        dropout=0.5).data  # fmt: skip
    np.testing.assert_allclose(part, whole[b : b + 1, h * group : (h + 1) * group], rtol=1e-12, atol=1e-12)


@given(rows=st.integers(1, 3), times=st.integers(1, 3), seed=SEEDS)
def test_an_array_with_several_rows_for_each_row_of_the_batch_has_those(rows: int, times: int, seed: int) -> None:
    key = (seed, 0, 0)
    whole = keep_mask(key, (4 * times, 50), 0.5)
    part = keep_mask((*key, (Part(0, 1, 1 + rows, 4),)), (rows * times, 50), 0.5)
    np.testing.assert_array_equal(part, whole[times : (1 + rows) * times])


@given(seed=SEEDS)
def test_arrays_that_have_no_rows_of_the_batch_are_dropped_differently_in_each_part(seed: int) -> None:
    """Such as the tokens of an expert, of which each part has another number."""
    masks = [keep_mask((seed, 0, 0, (part,)), (7, 50), 0.5) for part in Part(0, 0, 4, 4).split([2, 2])]
    assert (masks[0] != masks[1]).any()


def test_a_part_inside_of_another_takes_its_place_along_the_same_axis_only() -> None:
    rows, tokens, heads = Part(0, 1, 2, 4), Part(1, 0, 3, 6), Part(1, 2, 4, 8)
    random.seed(3)
    with placed(rows, tokens):
        with placed(heads):
            assert random.next_key() == (3, 0, 0, (rows, heads))
        assert random.next_key() == (3, 0, 1, (rows, tokens))
    assert random.next_key() == (3, 0, 2)


@pytest.mark.control
def test_a_mask_that_forgets_the_placement_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["minigrad.fused.dropout"], "placement_of", lambda key: ())
    check_part((4, 30), [Part(0, 0, 4, 4)], seed=1)  # the whole
    with pytest.raises(AssertionError):
        check_part((4, 30), [Part(0, 2, 4, 4)], seed=1)
