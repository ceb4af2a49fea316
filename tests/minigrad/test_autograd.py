"""grad, vjp, jvp and hvp against dense Jacobians and Hessians by finite differences; higher orders; what is not
reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given

import minigrad as mg
from minigrad import Tensor, grad, hvp, jvp, vjp
from minigrad.gradcheck.choices import Choices
from tests.minigrad.helpers import leaf, seeds
from tests.minigrad.strategies import choices
from tests.minigrad.tolerances import FINITE_DIFFERENCES, FLOAT64_ROUNDINGS, FLOAT64_SUMS, SECOND_DIFFERENCES


def mixed(x: Tensor, y: Tensor) -> Tensor:
    """Something of x (n, k) and y (k,) that is linear in nothing: (n,)."""
    return (x.sin() @ y.exp()) * (x * y).sum(axis=1).tanh() + (y * y).sum()


def total(x: Tensor, y: Tensor) -> Tensor:
    return (mixed(x, y) ** 2).sum()


def drawn(seed: int, n: int = 3, k: int = 2) -> tuple[np.random.Generator, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return rng, [rng.uniform(-1, 1, (n, k)), rng.uniform(-1, 1, k)]


def derivative(f: Callable, xs: list[np.ndarray], vs: list[np.ndarray], h: float = 1e-5) -> np.ndarray:
    """Along `vs`, by central differences of float64: off by about h^2 and 1e-16 / h, near 1e-10."""
    there, back = ([x + sign * h * v for x, v in zip(xs, vs)] for sign in (1, -1))
    return (np.asarray(f(*there)) - np.asarray(f(*back))) / (2 * h)


def jacobian(f: Callable, xs: list[np.ndarray]) -> np.ndarray:
    """Dense, (outputs, all inputs in a row)."""
    columns = []
    for i, x in enumerate(xs):
        for k in range(x.size):
            direction = [np.zeros(z.shape) for z in xs]
            direction[i].flat[k] = 1
            columns.append(derivative(f, xs, direction).ravel())
    return np.stack(columns, axis=1)


def values_of(f: Callable) -> Callable:
    return lambda *xs: f(*map(Tensor, xs)).numpy()


def flat(tensors: Iterable[Tensor]) -> np.ndarray:
    return np.concatenate([t.numpy().ravel() for t in tensors])


@given(seeds)
def test_vjp_is_a_row_of_the_jacobian(seed: int) -> None:
    rng, xs = drawn(seed)
    v = rng.standard_normal(3)
    value, found = vjp(mixed, xs, v)
    np.testing.assert_allclose(value.numpy(), values_of(mixed)(*xs), rtol=FLOAT64_ROUNDINGS)
    np.testing.assert_allclose(flat(found), v @ jacobian(values_of(mixed), xs), **FINITE_DIFFERENCES)


@given(seeds)
def test_jvp_is_the_jacobian_times_a_vector(seed: int) -> None:
    rng, xs = drawn(seed)
    vs = [rng.standard_normal(x.shape) for x in xs]
    value, found = jvp(mixed, xs, vs)
    np.testing.assert_allclose(value.numpy(), values_of(mixed)(*xs), rtol=FLOAT64_ROUNDINGS)
    np.testing.assert_allclose(
        found.numpy(), jacobian(values_of(mixed), xs) @ np.concatenate([v.ravel() for v in vs]), **FINITE_DIFFERENCES
    )


@given(seeds)
def test_hvp_is_the_hessian_times_a_vector(seed: int) -> None:
    rng, xs = drawn(seed)
    vs = [rng.standard_normal(x.shape) for x in xs]

    def gradient(*xs) -> np.ndarray:
        return flat(vjp(total, xs)[1])

    value, found = hvp(total, xs, vs)
    np.testing.assert_allclose(value.numpy(), values_of(total)(*xs), rtol=FLOAT64_ROUNDINGS)
    hessian = jacobian(gradient, xs)
    np.testing.assert_allclose(flat(found), hessian @ np.concatenate([v.ravel() for v in vs]), **SECOND_DIFFERENCES)
    np.testing.assert_allclose(hessian, hessian.T, **SECOND_DIFFERENCES)


@given(seeds)
def test_forward_and_reverse_agree(seed: int) -> None:
    """u . (J v) = (J^T u) . v, without any finite difference."""
    rng, xs = drawn(seed)
    vs, u = [rng.standard_normal(x.shape) for x in xs], rng.standard_normal(3)
    forward = u @ jvp(mixed, xs, vs)[1].numpy()
    reverse = sum(np.sum(g.numpy() * v) for g, v in zip(vjp(mixed, xs, u)[1], vs))
    np.testing.assert_allclose(forward, reverse, rtol=FLOAT64_SUMS, atol=FLOAT64_SUMS)


def test_one_input_needs_no_tuple() -> None:
    x = leaf([1.0, 2.0])
    assert vjp(lambda x: x**2, x, np.array([1.0, 1.0]))[1].numpy().tolist() == [2.0, 4.0]
    assert jvp(lambda x: x**2, x, np.array([1.0, 0.5]))[1].numpy().tolist() == [2.0, 2.0]
    assert hvp(lambda x: (x**3).sum(), x, np.array([1.0, 1.0]))[1].numpy().tolist() == [6.0, 12.0]
    assert x.grad is None


@given(choices())
def test_linear_and_constant_functions(c: Choices) -> None:
    shape = c.shape()
    x, v = Tensor(c.array(shape)), c.array(shape)
    assert np.array_equal(jvp(lambda x: x * 3.0, x, v)[1].numpy(), v * 3.0)
    assert np.array_equal(jvp(lambda x: Tensor(np.ones(2)), x, v)[1].numpy(), np.zeros(2))
    assert np.array_equal(hvp(lambda x: (x * 3.0).sum(), x, v)[1].numpy(), np.zeros(shape))
    assert np.array_equal(vjp(lambda x: Tensor(1.0), x)[1].numpy(), np.zeros(shape))


@pytest.mark.parametrize("name", ["gelu", "silu", "layer_norm", "rms_norm", "relu_squared"])
@given(seed=seeds)
def test_second_derivatives_of_fused_functions_are_those_of_their_references(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, v = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    found, expected = (
        hvp(lambda x, f=f: (f(x) ** 3).sum(), Tensor(x), v)[1].numpy()
        for f in (getattr(mg, name), getattr(mg, f"{name}_reference"))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


# ---- higher orders ---------------------------------------------------------------------------------------------------


def test_third_and_fourth_derivatives() -> None:
    x = leaf([0.5, -1.0, 2.0])
    y, slopes = (x**5 + x.sin()).sum(), []
    for _ in range(4):
        y = grad(y, x, create_graph=True)
        slopes.append(y.numpy())
        y = y.sum()
    v = x.numpy()
    for slope, expected in zip(
        slopes, (5 * v**4 + np.cos(v), 20 * v**3 - np.sin(v), 60 * v**2 - np.cos(v), 120 * v + np.sin(v))
    ):
        np.testing.assert_allclose(slope, expected, rtol=FLOAT64_SUMS)


@given(seeds)
def test_a_jvp_can_itself_be_differentiated(seed: int) -> None:
    """d/dx of (J v) summed, against finite differences of it."""
    rng, (x, y) = drawn(seed)
    v = rng.standard_normal(x.shape)

    def pushed(x: Tensor) -> Tensor:
        return jvp(lambda x: mixed(x, Tensor(y)), x, v, create_graph=True)[1].sum()

    found = grad(pushed(leaf_x := leaf(x)), leaf_x)
    expected = jacobian(lambda x: pushed(Tensor(x)).numpy(), [x]).reshape(x.shape)
    np.testing.assert_allclose(found.numpy(), expected, **FINITE_DIFFERENCES)


def test_a_gradient_step_can_be_differentiated_through() -> None:
    """One step of w - lr dL/dw, as in meta-learning: d(w - lr 2 w x^2)^2 / d lr."""
    w, lr, x = leaf(1.5), leaf(0.1), 0.7
    inner = ((w * x) ** 2).sum()
    stepped = w - lr * grad(inner, w, create_graph=True)
    (stepped**2).backward()
    slope = 2 * 1.5 * x * x
    np.testing.assert_allclose(lr.grad.item(), -2 * (1.5 - 0.1 * slope) * slope, rtol=FLOAT64_SUMS)
    np.testing.assert_allclose(w.grad.item(), 2 * (1.5 - 0.1 * slope) * (1 - 0.1 * 2 * x * x), rtol=FLOAT64_SUMS)


def test_gradients_can_be_differentiated_with_respect_to_grad_outputs() -> None:
    x, u = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    g = grad(x**3, x, u, create_graph=True)
    assert grad(g.sum(), u).numpy().tolist() == [3.0, 12.0]


def test_functions_stay_connected_to_where_their_inputs_came_from() -> None:
    a = leaf([1.0, 2.0])
    slope = vjp(lambda x: (x**3).sum(), a * 2.0, create_graph=True)[1]  # 3 (2a)^2
    slope.sum().backward()
    assert a.grad.numpy().tolist() == [24.0, 48.0]


# ---- grad ------------------------------------------------------------------------------------------------------------


def test_grad_with_respect_to_leaves_and_intermediate_results_together() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    z = (y * x).sum()
    dx, dy = grad(z, [x, y])
    assert dx.numpy().tolist() == [3.0, 12.0]
    assert dy.numpy().tolist() == [1.0, 2.0]
    assert x.grad is None


def test_grad_with_respect_to_the_output_itself_is_one() -> None:
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    assert grad(y, y, retain_graph=True).item() == 1.0
    assert grad(x, x, np.array([2.0, 3.0])).numpy().tolist() == [2.0, 3.0]


def test_an_input_that_the_outputs_do_not_depend_on_gets_zeros() -> None:
    x, y = leaf([1.0, 2.0]), leaf([[3.0]])
    dx, dy = grad((x * x).sum(), [x, y])
    assert dx.numpy().tolist() == [2.0, 4.0]
    assert dy.numpy().tolist() == [[0.0]]
    unused = x * 2.0
    assert grad((x * x).sum(), unused).numpy().tolist() == [0.0, 0.0]
    assert grad(Tensor(1.0), x).numpy().tolist() == [0.0, 0.0]
    assert grad(x.detach().sum(), x).numpy().tolist() == [0.0, 0.0]


def test_several_outputs_with_and_without_grad_outputs() -> None:
    x = leaf([1.0, 2.0])
    assert grad([(x * x).sum(), x.sum()], x).numpy().tolist() == [3.0, 5.0]
    assert grad([x * x, x], x, [np.array([1.0, 0.0]), np.array([0.0, 10.0])]).numpy().tolist() == [2.0, 10.0]
    with pytest.raises(ValueError, match="shorter|longer"):
        grad([x * x, x], x, [np.ones(2)])


def test_grad_with_respect_to_a_constant_is_refused() -> None:
    with pytest.raises(ValueError, match="requires_grad=True"):
        grad(leaf([1.0]).sum(), Tensor([1.0]))


def test_grad_frees_the_graph_unless_told_to_keep_it() -> None:
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    for _ in range(2):
        assert grad(y, x, retain_graph=True).numpy().tolist() == [2.0, 4.0]
    grad(y, x)
    with pytest.raises(RuntimeError, match="freed"):
        grad(y, x)


def test_nodes_older_than_the_inputs_are_not_visited() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    z = (y * 3.0).sum()
    assert grad(z, y).numpy().tolist() == [3.0, 3.0]
    y.sum().backward()  # so this part of the graph is still whole
    assert x.grad.numpy().tolist() == [2.0, 4.0]


def test_the_same_input_twice() -> None:
    x = leaf([1.0, 2.0])
    first, second = grad((x * x).sum(), [x, x])
    assert first.numpy().tolist() == second.numpy().tolist() == [2.0, 4.0]


def test_gradients_without_create_graph_are_constants() -> None:
    x = leaf([1.0, 2.0])
    assert not grad((x * x).sum(), x).requires_grad
    assert grad((x * x).sum(), x, create_graph=True).requires_grad


def test_derivatives_can_be_taken_under_no_grad() -> None:
    x = Tensor(np.array([1.0, 2.0]))
    with mg.no_grad():
        found = vjp(lambda x: (x * x).sum(), x)[1]
    assert found.numpy().tolist() == [2.0, 4.0]
