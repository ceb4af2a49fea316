"""Optimizers as objects: where data and gradients are stored, two optimizers of one parameter, and saved states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.nn import Linear, Module, Parameter
from minigrad.optim import SGD, AdamW, FlatParameters, adamw_reference, clip_grad_norm
from minigrad.tensor import Tensor
from tests.minigrad.helpers import seeds
from tests.minigrad.tolerances import FLOAT64_SUMS


class Net(Module):
    """Two layers; the first can be left out."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.first, self.second = Linear(3, 3, rng=rng, dtype=np.float64), Linear(3, 2, rng=rng, dtype=np.float64)

    def forward(self, x: Tensor, skip: bool = False) -> Tensor:
        return self.second(x if skip else self.first(x))


def train(net: Net, optimizer: Any, seed: int, steps: range) -> None:
    """Steps on data that depend on the seed and step alone; every third leaves the first layer without a gradient."""
    for step in steps:
        x = Tensor(np.random.default_rng([seed, step]).standard_normal((4, 3)))
        optimizer.zero_grad()
        y = net(x, skip=step % 3 == 2)
        (y * y).sum().backward()
        optimizer.step(lr=0.1 / (step + 1))


# --- flat parameters --------------------------------------------------------------------------------------------------


def test_data_and_gradients_are_views_of_the_flat_arrays() -> None:
    net = Net(0)
    before = net.state_dict()
    flat = FlatParameters(list(net.parameters()))
    assert all(np.array_equal(a, before[name]) for name, a in net.state_dict().items())
    net(Tensor(np.ones((1, 3)))).sum().backward()
    assert all(np.shares_memory(p.data, flat.data) and p.grad.data is p.grad_buffer for p in net.parameters())
    np.testing.assert_array_equal(flat.grad, np.concatenate([p.grad.numpy().ravel() for p in net.parameters()]))


@given(
    seed=seeds,
    present=st.lists(st.booleans(), min_size=1, max_size=8),
    keys=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_runs_cover_the_parameters_with_a_gradient_in_as_few_slices_as_possible(
    seed: int, present: list[bool], keys: list[bool]
) -> None:
    sizes = np.random.default_rng(seed).integers(0, 4, len(present))
    parameters = [Parameter(np.zeros(n)) for n in sizes]
    for p, has_grad in zip(parameters, present):
        p.grad = Tensor(np.zeros(p.shape)) if has_grad else None
    flat = FlatParameters(parameters)
    runs = flat.runs(key=lambda i: keys[i])
    assert [i for indices, _ in runs for i in indices] == [i for i, has_grad in enumerate(present) if has_grad]
    for (indices, where), after in zip(runs, [*runs[1:], (range(99, 100), None)]):
        assert len({keys[i] for i in indices}) == 1
        assert where.stop - where.start == sum(sizes[i] for i in indices)
        assert indices.stop != after[0].start or keys[indices[0]] != keys[after[0][0]]


def test_a_gradient_given_by_hand_is_copied_in() -> None:
    p, given_by_user = Parameter(np.zeros(3)), np.arange(3.0)
    optimizer = SGD([p], lr=1.0)
    p.grad = Tensor(given_by_user)
    clip_grad_norm(optimizer, 1.0)
    optimizer.step()
    np.testing.assert_allclose(p.numpy(), -np.arange(3.0) / 5**0.5, rtol=1e-5)  # the 1e-6 of clipping
    np.testing.assert_array_equal(given_by_user, np.arange(3.0))


def test_a_gradient_with_a_graph_is_copied_in() -> None:
    p = Parameter(np.array([1.0, 2.0]))
    optimizer = SGD([p], lr=1.0)
    (p * p).sum().backward(create_graph=True)
    optimizer.step()
    np.testing.assert_array_equal(p.numpy(), [-1.0, -2.0])


def test_gradients_accumulate_until_zero_grad() -> None:
    p = Parameter(np.ones(2))
    optimizer = SGD([p], lr=1.0)
    for _ in range(3):
        (2 * p).sum().backward()
    assert p.grad.data is p.grad_buffer
    np.testing.assert_array_equal(p.grad.numpy(), [6, 6])
    optimizer.zero_grad()
    (5 * p).sum().backward()
    np.testing.assert_array_equal(p.grad.numpy(), [5, 5])


@given(seed=seeds)
def test_two_optimizers_take_turns(seed: int) -> None:
    """As two separate references do: each has its own moments, both see the same parameter."""
    rng = np.random.default_rng(seed)
    start, grads = rng.standard_normal(5), rng.standard_normal((6, 5))
    p, expected = Parameter(start), start
    optimizers, moments = [AdamW([p]), AdamW([p])], [(0.0, 0.0), (0.0, 0.0)]
    for step, g in enumerate(grads):
        turn = step % 2
        optimizers[turn].zero_grad()
        (p * Tensor(g)).sum().backward()
        optimizers[turn].step()
        expected, *moments[turn] = adamw_reference(expected, g, *moments[turn], step // 2 + 1)
    np.testing.assert_allclose(p.numpy(), expected, rtol=FLOAT64_SUMS)


def test_weights_loaded_or_assigned_after_the_optimizer_was_built_are_trained() -> None:
    net = Net(0)
    optimizer = SGD(net.parameters(), lr=1.0)
    for change in (
        lambda: net.load_state_dict(Net(1).state_dict()),
        lambda: setattr(net.first.weight, "data", np.full((3, 3), 7.0)),
    ):
        change()
        before = net.first.weight.numpy().copy()
        optimizer.zero_grad()
        net.first.weight.grad = Tensor(np.ones((3, 3)))
        optimizer.step()
        np.testing.assert_array_equal(net.first.weight.numpy(), before - 1)


# --- saved states -----------------------------------------------------------------------------------------------------

MAKERS = {
    "AdamW": lambda params: AdamW(params, weight_decay=0.1, decay=lambda p: p.ndim >= 2),
    "SGD": lambda params: SGD(params, momentum=0.9, nesterov=True),
    "plain SGD": lambda params: SGD(params),
}


@pytest.mark.parametrize("kind", MAKERS)
@given(seed=seeds, stop=st.integers(0, 7))
def test_continuing_from_a_state_is_bit_for_bit_as_if_never_stopped(kind: str, seed: int, stop: int) -> None:
    straight = Net(seed)
    train(straight, MAKERS[kind](straight.named_parameters()), seed, range(7))

    first = Net(seed)
    optimizer = MAKERS[kind](first.named_parameters())
    train(first, optimizer, seed, range(stop))
    weights, state = first.state_dict(), optimizer.state_dict()
    train(first, optimizer, seed, range(stop, 7))  # what is saved must not change with it

    second = Net(seed + 1)
    reordered = reversed(list(second.named_parameters()))  # the names, not their order, say what belongs to what
    optimizer = MAKERS[kind](reordered)
    second.load_state_dict(weights)
    optimizer.load_state_dict(state)
    train(second, optimizer, seed, range(stop, 7))
    assert optimizer.lr == 0.1 / 7 or stop == 7
    for name, array in straight.state_dict().items():
        assert array.tobytes() == second.state_dict()[name].tobytes(), name


@pytest.mark.control
def test_continuing_without_the_moments_is_caught() -> None:
    straight, restarted = Net(0), Net(0)
    train(straight, AdamW(straight.parameters()), 0, range(6))
    train(restarted, AdamW(restarted.parameters()), 0, range(3))
    train(restarted, AdamW(restarted.parameters()), 0, range(3, 6))
    assert not np.array_equal(straight.first.weight.numpy(), restarted.first.weight.numpy())


def test_a_state_survives_safetensors() -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    net = Net(0)
    optimizer = AdamW(net.named_parameters())
    train(net, optimizer, 0, range(4))
    state = optimizer.state_dict(copy=False)
    loaded = safetensors.load(safetensors.save(state))
    AdamW(net.named_parameters()).load_state_dict(loaded)
    assert {name: (a.dtype, a.tobytes()) for name, a in loaded.items()} == {
        name: (a.dtype, a.tobytes()) for name, a in state.items()
    }
    assert loaded["step.second.weight"] == 4
    assert loaded["step.first.weight"] == 3


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    net = Net(0)
    optimizer = AdamW(net.named_parameters())
    train(net, optimizer, 0, range(2))
    before, state = optimizer.state_dict(), optimizer.state_dict()
    del state["exp_avg.first.bias"], state["lr"]
    state |= {
        "momentum_buffer.first.bias": np.zeros(3),
        "exp_avg_sq.second.bias": np.zeros(5),
        "exp_avg.first.weight": np.ones((3, 3)),
    }
    with pytest.raises(ValueError) as caught:
        optimizer.load_state_dict(state)
    for part in (
        "missing: lr, exp_avg.first.bias",
        "unexpected: momentum_buffer.first.bias",
        "misshapen: exp_avg_sq.second.bias (given (5,), expected (2,))",
    ):
        assert set(part.split(": ", 1)[1].split(", ")) <= set(
            str(caught.value).replace(";", ",").replace(": ", ", ").split(", ")
        )
    after = optimizer.state_dict()
    assert {name: a.tobytes() for name, a in after.items()} == {name: a.tobytes() for name, a in before.items()}


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "error", "says"),
    [
        ([], ValueError, "no parameters"),
        (Parameter(np.ones(2)), TypeError, "list of parameters"),
        (Net(0), TypeError, "named_parameters"),
        ([Tensor(np.ones(2), requires_grad=True)], TypeError, "Parameter"),
        ([Parameter(np.ones(2, np.float16))], TypeError, "float16"),
        ([p := Parameter(np.ones(2)), p], ValueError, "twice"),
        ([("w", Parameter(np.ones(2))), ("w", Parameter(np.ones(2)))], ValueError, "w is listed twice"),
    ],
)
def test_what_cannot_be_trained_is_refused(params: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        SGD(params)


@pytest.mark.parametrize(
    ("kind", "setting", "says"),
    [
        (SGD, {"lr": -1.0}, "lr"),
        (SGD, {"lr": float("nan")}, "lr"),
        (SGD, {"weight_decay": -0.1}, "weight_decay"),
        (SGD, {"nesterov": True}, "Nesterov"),
        (SGD, {"momentum": -0.5}, "momentum"),
        (AdamW, {"betas": (0.9, 1.0)}, "betas"),
        (AdamW, {"eps": -1e-8}, "eps"),
    ],
)
def test_impossible_settings_are_refused(kind: type, setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        kind([Parameter(np.ones(2))], **setting)


def test_an_impossible_lr_or_gradient_is_refused_before_anything_changes() -> None:
    p, q = Parameter(np.ones(2)), Parameter(np.ones((2, 2)))
    optimizer = AdamW([p, q])
    p.grad, q.grad = Tensor(np.ones(2)), Tensor(np.ones(2))
    with pytest.raises(ValueError, match=r"of shape \(2, 2\) was given a gradient of shape \(2,\)"):
        optimizer.step()
    with pytest.raises(ValueError, match="lr"):
        optimizer.step(lr=float("inf"))
    np.testing.assert_array_equal(p.numpy(), np.ones(2))
    assert optimizer.state_dict()["step.0"] == 0


def test_parameters_of_another_dtype_than_when_it_was_built_are_refused() -> None:
    net = Net(0)
    optimizer = SGD(net.parameters())
    net.astype(np.float32)
    with pytest.raises(RuntimeError, match="float64 .* now float32"):
        optimizer.step()


def test_numpy_numbers_as_settings_do_not_promote() -> None:
    plain, numpy = (Parameter(np.ones(3, np.float32)) for _ in range(2))
    for p, number in ((plain, float), (numpy, np.float64)):
        optimizer = AdamW(
            [p], lr=number(0.1), betas=(number(0.9), number(0.99)), eps=number(1e-8), weight_decay=number(0.1)
        )
        p.grad = Tensor(np.full(3, 0.3, np.float32))
        optimizer.step(lr=number(0.05))
    assert plain.numpy().tobytes() == numpy.numpy().tobytes()
