"""Who may share memory with whom, what is kept for the backward pass, and when it is freed."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor, grad
from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.gradcheck.choices import Choices
from minigrad.nn import Parameter
from minigrad.tensor import record
from tests.minigrad.strategies import arrays, examples


def leaf(values) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


# ---- nobody's array is written ---------------------------------------------------------------------------------------


def test_the_same_gradient_for_two_parents_is_not_added_in_place():
    x = leaf([1.0, 2.0])
    (x * x + x).sum().backward()
    assert x.grad.numpy().tolist() == [3.0, 5.0]


@pytest.mark.parametrize("create_graph", [False, True])
@given(arrays())
def test_two_leaves_never_share_the_memory_of_their_gradients(create_graph, values):
    x, y, z, seed = leaf(values), leaf(values), leaf(values), np.ones_like(values)
    (x + y + z.reshape(-1).reshape(values.shape)).backward(grad=seed, create_graph=create_graph)
    kept = [seed, *(t.grad.data for t in (x, y, z))]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(kept) for b in kept[i + 1 :])


def test_the_callers_gradient_is_never_written_nor_kept():
    x, given_ = leaf([1.0, 2.0]), np.array([5.0, 7.0])
    for _ in range(3):
        (x + 0.0).backward(grad=given_)
        x.backward(grad=given_)
    assert given_.tolist() == [5.0, 7.0]
    assert not np.shares_memory(x.grad.data, given_)
    assert x.grad.numpy().tolist() == [30.0, 42.0]


def test_two_backward_passes_do_not_change_a_gradient_that_somebody_kept():
    x = leaf([1.0])
    (x * 2).sum().backward()
    kept = x.grad
    (x * 3).sum().backward()
    assert kept.numpy().tolist() == [2.0]
    assert x.grad.numpy().tolist() == [5.0]


@given(st.integers(3, 6))
def test_sums_made_in_place_are_nobody_elses(n):
    """Slices of one array, whose gradients are added up in one place, after uses that hand the same array to two."""
    x, seed = leaf(np.arange(n)), np.ones(n)
    y = x * 1.0
    parts = y[:2].sum() + y[1:].sum() + y[np.array([0, 0])].sum()
    (y + y + parts).backward(grad=seed)
    assert x.grad.numpy().tolist() == [2 + n * (1 + 2), 2 + n * 2, *[2 + n] * (n - 2)]
    assert seed.tolist() == [1.0] * n


def test_a_gradient_buffer_is_filled_first_and_added_to_after():
    flat = np.full(4, np.nan)
    x = Parameter(np.array([1.0, 2.0]), np.float64)
    x.grad_buffer = flat[1:3]
    (x * 2).sum().backward()
    (x * x).sum().backward()
    assert x.grad.data is x.grad_buffer
    assert flat[1:3].tolist() == [4.0, 6.0]
    assert np.isnan(flat[[0, 3]]).all()
    assert [g.item() for g in grad((x * 5).sum(), x)] == [5.0, 5.0]  # the functional form leaves the buffer alone
    assert flat[1:3].tolist() == [4.0, 6.0]


# ---- memory ----------------------------------------------------------------------------------------------------------


SAVED = 4_000  # bytes of an array of 500


@pytest.mark.parametrize(
    ("op", "nodes", "saved"),
    [
        (lambda x, y: y + 1.0, 1, 0),
        (lambda x, y: y * 0.5, 1, 0),  # a number
        (lambda x, y: y + x, 1, 0),
        (lambda x, y: y.reshape(20, 25).reshape(500), 2, 0),
        (lambda x, y: y.mean() + x, 2, 0),
        (lambda x, y: y.tanh(), 1, SAVED),  # its result
        (lambda x, y: y * x, 1, SAVED),  # its input
    ],
    ids=["add", "number", "leaf", "views", "mean", "result", "input"],
)
def test_a_node_costs_less_than_a_kilobyte_beyond_what_it_saves(op, nodes, saved):
    x, n = leaf(np.full(500, 0.1)), 500
    y = x
    tracemalloc.start()
    for _ in range(n):
        y = op(x, y)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert y.requires_grad
    assert saved <= used / n < saved + 1000 * nodes


def test_what_no_rule_needs_is_freed_at_once():
    x = leaf(np.ones(1000))
    a = x * 3.0  # d/dx needs no values at all
    b = a + 1.0
    c = b.sum()
    gone = [weakref.ref(t.data) for t in (a, b)]
    del a, b
    assert [ref() for ref in gone] == [None, None]
    c.backward()
    assert x.grad.numpy()[0] == 3.0


def test_what_a_rule_needs_is_kept_until_backward_has_visited_it():
    """Each saved array dies as soon as its node has been visited: the older ones are alive while the newer ones are
    gone.
    """
    x = leaf(np.ones(10))
    saved, alive = [], []

    def probe(t):
        """An op in between that looks, in backward, at which of the saved arrays are still there."""
        return record(t.data.copy(), (t,), lambda g, out: (alive.append([ref() is not None for ref in saved]), (g,))[1])

    y = x
    for _ in range(3):
        y = probe(y).exp()  # keeps its own result
        saved.append(weakref.ref(y.data))
    y = y.sum()
    assert all(ref() is not None for ref in saved)
    y.backward()
    assert alive == [[True, True, False], [True, False, False], [False, False, False]]


def test_deleting_the_result_frees_everything_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf(np.ones(100))
        y = (x.exp() * x).tanh()
        refs = [weakref.ref(y), weakref.ref(y.data)]
        del y
        assert [ref() for ref in refs] == [None, None]
    finally:
        gc.enable()


def test_negative_control_a_rule_that_closes_over_its_result_is_a_cycle():
    def leaky(x):
        out = record(x.data * 2, (x,), lambda g, _: (g * (out.ndim + 1),))
        return out

    gc.collect()
    leaky(leaf([1.0]))
    assert gc.collect() > 0


# fmt: off
LINEAR = ["add", "sub", "neg", "where", "astype", "sum", "mean", "cumsum", "reshape", "transpose", "swapaxes", "expand_dims", "squeeze",
          "broadcast_to", "concatenate", "stack", "split", "pad", "flip", "roll", "tril", "triu", "getitem",
          "scatter", "take",
          "take_along_axis", "rope", "dropout"]
# fmt: on


def arrays_kept(f, example) -> list[bool]:
    """For each input of `f`, itself the result of another op: is its array still there when only the end of the graph
    is held?
    """
    before = [leaf(x) for x in example.inputs]
    xs = [record(x.data.copy(), (x,), lambda g, out: (g,)) for x in before]
    refs = [weakref.ref(x.data) for x in xs]
    out = f(*xs, **example.options)
    end = [part.sum() for part in (out if isinstance(out, list) else [out])]
    del xs, out
    return [ref() is not None for ref in refs if end]


@pytest.mark.parametrize("name", LINEAR)
@given(st.data())
def test_linear_functions_keep_none_of_their_inputs(name, data):
    assert not any(arrays_kept(CATALOGUE[name].f, data.draw(examples(name))))


@pytest.mark.parametrize("name", ["mul", "matmul", "div"])
@given(st.data())
def test_products_keep_only_what_the_others_gradient_needs(name, data):
    """With a constant as second factor, the first is not needed."""
    example = data.draw(examples(name).filter(lambda example: len(example.inputs) == 2))
    constant = Tensor(example.inputs[1])
    assert arrays_kept(
        partial(lambda x, f: f(x, constant), f=CATALOGUE[name].f), example._replace(inputs=example.inputs[:1])
    ) == [False]


def test_negative_control_functions_that_need_their_input_keep_it():
    assert arrays_kept(lambda x: x.sin(), CATALOGUE["sin"].example(Choices(0))) == [True]
    assert arrays_kept(lambda x, y: x * y, CATALOGUE["mul"].example(Choices(0))) == [True, True]


@given(
    shape=st.lists(st.integers(0, 4), max_size=4).map(tuple),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_the_gradient_of_a_sum_is_one_number_seen_everywhere(shape: tuple[int, ...], dtype: type) -> None:
    """Whatever the size: of the sum's rule, a view like NumPy's own."""
    x = Tensor(np.ones(shape, dtype), requires_grad=True)
    g = np.array(2.5, dtype)
    (share,) = x.sum().node.vjp(g, None)
    expected = np.broadcast_to(g, shape)
    assert share.dtype == dtype and share.shape == shape and share.tolist() == expected.tolist()
    assert share.base is g and not share.flags.writeable and share.strides == (0,) * len(shape)
