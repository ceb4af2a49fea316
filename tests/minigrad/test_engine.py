"""The graph: what is recorded, how gradients travel and add up, what may be asked for twice, threads and hooks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor, grad, no_grad
from minigrad.backend import Array
from minigrad.fused.record import record_fused
from minigrad.graph import Node, Rule
from minigrad.lazy import Gradient
from minigrad.modes import mode
from minigrad.tensor import like, record
from tests.minigrad.helpers import leaf
from tests.minigrad.tolerances import FINITE_DIFFERENCES, FLOAT64_SUMS

SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)


# ---- accumulation ----------------------------------------------------------------------------------------------------


def test_leaf_gradients_accumulate_over_calls_until_zero_grad() -> None:
    a = Tensor(3.0, requires_grad=True)
    b = a + a
    c = b + b
    c.backward(retain_graph=True)
    assert a.grad.item() == 4
    b.backward()
    assert a.grad.item() == 4 + 2
    a.zero_grad()
    assert a.grad is None


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_gradient_is_stored_row_by_row_as_whoever_reads_it_as_one_long_vector_expects(order: Any) -> None:
    x = Tensor(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], order=order), requires_grad=True)
    (x * x).sum().backward()
    assert x.grad is not None and x.grad.data.flags.c_contiguous
    assert x.grad.data.ravel(order="A").tolist() == [2, 4, 6, 8, 10, 12]


def test_only_leaves_get_a_gradient() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    y.sum().backward()
    assert y.grad is None
    assert x.grad.numpy().tolist() == [2.0, 4.0]


def test_a_constant_gets_none_and_is_not_recorded() -> None:
    x, constant = leaf([1.0]), Tensor(np.array([2.0]))
    (x * constant).sum().backward()
    assert constant.grad is None
    assert not (constant * constant).requires_grad
    assert (constant * constant).node is None


def test_a_leaf_can_itself_be_the_start() -> None:
    x = leaf([1.0, 2.0])
    x.backward(grad=np.array([3.0, 4.0]))
    assert x.grad.numpy().tolist() == [3.0, 4.0]


@pytest.mark.parametrize("diamond", [lambda x: x * x + x, lambda x: (x + x) * (x + x), lambda x: x * (x + x * x)])
def test_diamonds(diamond: Callable) -> None:
    x = leaf([0.5, -2.0, 3.0])
    diamond(x).sum().backward()
    h = 1e-6
    slope = (diamond(x.numpy() + h) - diamond(x.numpy() - h)) / (2 * h)
    assert np.allclose(x.grad.numpy(), slope, **FINITE_DIFFERENCES)


# ---- backward twice, under no_grad, from the wrong place -------------------------------------------------------------


def test_backward_twice_through_a_freed_graph_says_so() -> None:
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    assert x.grad.numpy().tolist() == [2.0, 4.0]


def test_a_freed_part_of_another_graph_says_so() -> None:
    x = leaf([1.0, 2.0])
    shared = x * x
    first, second = shared.sum(), shared.sum()
    first.backward()
    with pytest.raises(RuntimeError, match="second time"):
        second.backward()


def test_retain_graph_gives_the_same_again() -> None:
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.numpy().tolist() == [4.0, 8.0]


def test_create_graph_leaves_gradients_that_can_be_differentiated() -> None:
    x = leaf([2.0])
    (x * x * x).sum().backward(create_graph=True)
    slope = x.grad
    x.zero_grad()
    slope.sum().backward()
    assert slope.numpy().tolist() == [12.0]
    assert x.grad.numpy().tolist() == [12.0]


def test_gradients_are_plain_without_create_graph() -> None:
    x = leaf([2.0])
    (x * x * x).sum().backward()
    assert not x.grad.requires_grad
    assert x.grad.node is None


def test_backward_from_more_than_one_number_asks_for_a_gradient() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\).*grad="):
        (leaf([1.0, 2.0]) * 2).backward()
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        (leaf([1.0, 2.0]) * 2).backward(grad=np.ones(3))


def test_backward_of_what_needs_no_gradient_says_why() -> None:
    with pytest.raises(RuntimeError, match="requires_grad"):
        Tensor(1.0).backward()


def test_integers_cannot_require_a_gradient() -> None:
    with pytest.raises(TypeError, match="int64"):
        Tensor(np.arange(3), requires_grad=True)


def test_no_grad_records_nothing_and_ends_with_its_block() -> None:
    x = leaf([1.0])
    with no_grad():
        assert not (x * x).requires_grad
        with no_grad():
            pass
        assert not (x * x).requires_grad
    assert (x * x).requires_grad
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert (x * x).requires_grad


def test_no_grad_as_a_decorator() -> None:
    @no_grad()
    def square(x: Tensor) -> Tensor:
        return x * x

    x = leaf([1.0])
    assert not square(x).requires_grad
    assert not square(x).requires_grad
    assert (x * x).requires_grad


def test_no_grad_is_per_thread() -> None:
    inside, outside, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        inside.wait(5)
        seen.append((leaf([1.0]) * 2).requires_grad)
        outside.set()

    thread = threading.Thread(target=other)
    thread.start()
    with no_grad():
        inside.set()
        outside.wait(5)
    thread.join()
    assert seen == [True]


def test_no_grad_computes_the_same() -> None:
    x = leaf(np.linspace(-1, 1, 7))
    with no_grad():
        quiet = (x * x).exp().sum()
    assert quiet.item() == (x * x).exp().sum().item()


# ---- long, wide and arbitrary graphs ---------------------------------------------------------------------------------


def test_a_chain_of_100_000_ops_forward_backward_and_deletion() -> None:
    x = leaf([1.0])
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.numpy().tolist() == [1.0]
    y = x
    for _ in range(100_000):
        y = y * 1.0
    del y  # never visited: the chain goes by itself


def test_a_wide_graph() -> None:
    x = leaf([1.0])
    sum((x * float(i) for i in range(1000)), Tensor(0.0)).sum().backward()
    assert x.grad.item() == sum(range(1000))


OPS = {
    "add": (lambda a, b: a + b, lambda a, b: (1, 1)),
    "mul": (lambda a, b: a * b, lambda a, b: (b, a)),
    "sub": (lambda a, b: a - b, lambda a, b: (1, -1)),
}


Graph = tuple[int, list[tuple[str, int, int]]]  # the number of leaves, and (op, one node, another) for each step


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A random graph as a list of (op, one node, another), nodes being numbered from the leaves on."""
    leaves = draw(st.integers(1, 4))
    steps = draw(st.integers(1, 25))
    return leaves, [
        (draw(st.sampled_from(sorted(OPS))), draw(st.integers(0, leaves + k - 1)), draw(st.integers(0, leaves + k - 1)))
        for k in range(steps)
    ]


@given(graphs(), st.integers(0, 2**32 - 1))
def test_any_graph_agrees_with_the_chain_rule_forward(graph: Graph, seed: int) -> None:
    count, steps = graph
    values = np.random.default_rng(seed).uniform(-1.2, 1.2, count).tolist()
    leaves = [leaf(v) for v in values]
    nodes = list(leaves)
    for op, i, j in steps:
        nodes.append(OPS[op][0](nodes[i], nodes[j]))
        values.append(OPS[op][0](values[i], values[j]))

    def slope(of: int, by: int) -> float:  # forward from the leaves, one pair of nodes at a time
        if of < count:
            return float(of == by)
        op, i, j = steps[of - count]
        left, right = OPS[op][1](values[i], values[j])
        return left * slopes[i][by] + right * slopes[j][by]

    slopes: list[list[float]] = []
    for of in range(len(nodes)):
        slopes.append([slope(of, by) for by in range(count)])

    found = grad(nodes[-1], leaves)
    assert nodes[-1].item() == values[-1]
    scale = max(1, np.abs(slopes).max())  # of what was added up, in another order, and may have cancelled
    for g, expected in zip(found, slopes[-1]):
        assert np.isclose(g.item(), expected, rtol=1e-9, atol=1e-9 * scale)


# ---- threads, hooks, names -------------------------------------------------------------------------------------------


def test_threads_record_and_go_back_independently() -> None:
    shared = leaf(np.arange(5.0))
    found: dict[int, list] = {}

    def work(k: int) -> None:
        found[k] = [grad(((shared * float(k + i)).sin()).sum(), shared).numpy() for i in range(20)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        for i, g in enumerate(found[k]):
            expected = (k + i) * np.cos(shared.data * (k + i))
            assert np.allclose(g, expected, rtol=FLOAT64_SUMS)  # the same numbers; libm may round in another way


def test_an_op_hook_sees_every_op_and_may_replace_its_rule() -> None:
    seen = []

    def watch(data: Array, inputs: Sequence[Tensor], vjp: Rule) -> Rule:
        seen.append((data.shape, len(inputs)))
        return lambda g, out: tuple(dx * 10.0 for dx in vjp(g, out))

    x = leaf([1.0, 2.0])
    mode.op_hook = watch
    try:
        y = (x + 0.0).sum()
    finally:
        mode.op_hook = None
    y.backward()
    assert seen == [((2,), 2), ((), 1)]
    assert x.grad.numpy().tolist() == [100.0, 100.0]


def test_rules_get_arrays_and_where_gradients_are_recorded_tensors() -> None:
    seen = []

    def square(x: Tensor) -> Tensor:
        def rule(g: Any, out: Any) -> tuple:
            seen.append((type(g), type(out)))
            return (g * 2.0 * like(g, x) + out * 0.0,)

        return record(x.data * x.data, (x,), rule, keep_output=True)

    x = leaf([1.0, 2.0])
    for create_graph in (False, True):
        x.zero_grad()
        square(x).backward(grad=np.ones(2), create_graph=create_graph)
        assert x.grad.numpy().tolist() == [2.0, 4.0]
    assert seen == [(np.ndarray, np.ndarray), (Tensor, Tensor)]


@pytest.mark.parametrize("gradient", [np.array(3.0), np.float64(3.0), Tensor(np.float64(3.0))])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_rule_may_return_an_array_a_number_of_numpy_or_a_tensor(gradient: Any, create_graph: bool) -> None:
    x = leaf(2.0)
    y = record(x.data * 3.0, (x,), lambda g, out: (gradient,))
    (record(y.data, (y,), lambda g, out: (gradient,)) + y).backward(create_graph=create_graph)
    assert x.grad.item() == 3.0
    assert isinstance(x.grad.data, np.ndarray)
    assert np.asarray(gradient).item() == 3.0  # nothing was added to it


def test_an_array_from_a_rule_does_not_end_the_second_derivative() -> None:
    x = leaf(2.0)
    y = x * x
    z = record(y.data * 3.0, (y,), lambda g, out: (np.array(3.0),))
    assert grad(grad(z, x, create_graph=True), x).item() == 6.0


@pytest.mark.parametrize("create_graph", [False, True])
@given(shape=SHAPES, lengths=st.lists(st.integers(2, 4), min_size=1, max_size=2))
def test_a_rule_that_returns_a_gradient_of_a_wrong_shape_is_named(
    create_graph: bool, shape: tuple[int, ...], lengths: list[int]
) -> None:
    """Also where summing along some axes would give the right shape: the result was not made by broadcasting."""

    def scaled(x: Tensor) -> Tensor:
        return record(x.data * 2.0, (x,), lambda g, out: (np.ones((*lengths, *shape)),))

    with pytest.raises(ValueError, match=r"gradient rule of 'scaled' returned a gradient of shape .* for an input of"):
        scaled(leaf(np.ones(shape))).backward(np.ones(shape), create_graph=create_graph)


@given(shape=SHAPES, length=st.integers(2, 4))
def test_a_gradient_of_the_shape_to_which_the_input_was_broadcast_is_right(shape: tuple[int, ...], length: int) -> None:
    x = leaf(np.ones(shape))
    y = record(x.data + np.zeros((length, *shape)), (x,), lambda g, out: (g,))
    y.sum().backward()
    assert np.array_equal(x.grad.data, np.full(shape, float(length)))


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("constant", [False, True])
@given(shape=SHAPES, length=st.integers(2, 4))
def test_an_operation_may_broadcast_and_then_sum(create_graph: bool, constant: bool, shape: tuple, length: int) -> None:
    """The result does not show how the input was broadcast, but the other input does (a constant is not known)."""

    def total_product(x: Tensor, y: Tensor) -> Tensor:
        def vjp(g: Gradient, out: None) -> tuple:
            return g * like(g, y), None if constant else g * (like(g, x) + like(g, y) * 0.0)  # both of the shape of y

        return record((x.data * y.data).sum(), (x, y), vjp)

    x, y = leaf(np.ones(shape)), Tensor(np.ones((length, *shape)), requires_grad=not constant)
    total_product(x, y).backward(create_graph=create_graph)
    assert np.array_equal(x.grad.data, np.full(shape, float(length)))


def test_a_gradient_with_fewer_axes_than_the_input_is_named() -> None:
    def total(x: Tensor) -> Tensor:
        return record(x.data.sum(), (x,), lambda g, out: (np.ones(3),))

    with pytest.raises(
        ValueError, match=r"gradient rule of 'total' returned a gradient of shape \(3,\) for an input of"
    ):
        total(leaf(np.ones((2, 3)))).backward()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_rule_that_returns_too_few_or_too_many_gradients_is_named(count: int) -> None:
    def double(x: Tensor, y: Tensor) -> Tensor:
        return record(x.data + y.data, (x, y), lambda g, out: (g,) * count)

    with pytest.raises(ValueError, match=f"gradient rule of 'double' returned {count} gradients for 2 inputs"):
        double(leaf(1.0), leaf(2.0)).backward()


@pytest.mark.parametrize("returned", [False, 1.0, "x"])
def test_a_rule_that_returns_no_array_is_named(returned: Any) -> None:
    def double(x: Tensor) -> Tensor:
        return record(x.data * 2.0, (x,), lambda g, out: (returned,))

    kind = type(returned).__name__
    with pytest.raises(TypeError, match=f"gradient rule of 'double' returned a {kind}, but a gradient is an array"):
        double(leaf(1.0)).backward()


def test_nodes_are_numbered_in_order_of_creation_and_know_their_op() -> None:
    x = leaf([1.0])
    a, b = x.exp(), x.tanh()
    assert isinstance(a.node, Node)
    assert a.node.number < b.node.number
    assert (a.node.op, b.node.op) == ("exp", "tanh")


def test_a_fused_function_is_told_which_gradients_are_needed() -> None:
    asked = []

    def twice(x: Tensor, y: Tensor) -> Tensor:
        def vjp(g: np.ndarray, needs: tuple[bool, ...]) -> tuple:
            asked.append(needs)
            return g * y.data, None

        return record_fused(x.data * y.data, (x, y), vjp, lambda x, y: x * y)

    x, y = leaf([2.0]), Tensor(np.array([3.0]))
    twice(x, y).sum().backward()
    assert asked == [(True, False)]
    assert x.grad.item() == 3.0
    assert y.grad is None
