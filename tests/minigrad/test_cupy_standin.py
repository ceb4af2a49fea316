"""On the arrays of a GPU, every function and a training step compute what the CPU computes, and never wait for the GPU.

The arrays are those of the stand-in for CuPy (tests/fake_cupy/README.md) or, under the mark `gpu`, those of CuPy.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import checkpoint, grad, hvp, jvp, random, scatter, vjp
from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.gradcheck.choices import Example
from minigrad.nn import Dropout, Embedding, LayerNorm, Linear, Module, RMSNorm, Sequential
from minigrad.optim import SGD, AdamW, clip_grad_norm
from minigrad.tensor import Tensor
from tests import fake_cupy
from tests.minigrad.strategies import examples


def on_device(x: Any, cupy: Any) -> Any:
    """Arrays, also those in tuples and dicts, as arrays on the device; everything else as it is."""
    if isinstance(x, tuple):
        return tuple(on_device(item, cupy) for item in x)
    if isinstance(x, dict):
        return {key: on_device(value, cupy) for key, value in x.items()}
    return cupy.asarray(x) if isinstance(x, (np.ndarray, np.generic)) else x


def derivatives(f: Callable, example: Example) -> list[Any]:
    """The arrays of the outputs, of their gradients by the first-order rules, and of the gradients of those."""
    xs = [Tensor(x, requires_grad=True) for x in example.inputs]

    def call() -> list[Tensor]:
        outs = f(*xs, **example.options)
        return [outs] if isinstance(outs, Tensor) else list(outs)

    outs = call()
    seeds = [Tensor(np.cos(out.data)) for out in outs]
    first = grad(outs, xs, seeds)
    again = [(g * g).sum() for g in grad(call(), xs, seeds, create_graph=True)]
    curved = [a for a in again if a.requires_grad]
    second = grad(curved, xs) if curved else ()
    return [t.data for t in (*outs, *first, *again, *second)]


def must_sync(example: Example) -> bool:
    """Whether an index contains a boolean mask: the shape of the result depends on its values."""
    index = example.options.get("index")
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, np.ndarray) and part.dtype == bool for part in parts)


@pytest.mark.parametrize("name", CATALOGUE)
@given(data=st.data())
def test_functions_compute_the_same_without_a_sync(cupy: Any, name: str, data: st.DataObject) -> None:
    example = data.draw(examples(name))
    there = Example(on_device(example.inputs, cupy), on_device(example.options, cupy))
    expected = derivatives(CATALOGUE[name].f, example)
    fake_cupy.reset()
    with nullcontext() if must_sync(example) else fake_cupy.no_sync():
        received = derivatives(CATALOGUE[name].f, there)
    assert fake_cupy.uploads == [] or any(isinstance(value, list) for value in example.options.values())
    for ours, theirs in zip(received, expected, strict=True):
        assert isinstance(ours, cupy.ndarray)
        assert ours.dtype == theirs.dtype
        # A GPU adds in another order, so the results differ by a few roundings; second derivatives amplify them.
        np.testing.assert_allclose(ours.get(), theirs, rtol=1e-9, atol=1e-11)


def small_model(rng: np.random.Generator) -> Module:
    return Sequential(
        Embedding(7, 4, rng=rng, dtype=np.float64),
        LayerNorm(4, dtype=np.float64),
        Dropout(0.2),
        Linear(4, 6, rng=rng, dtype=np.float64),
        RMSNorm(6, dtype=np.float64),
        Linear(6, 3, rng=rng, dtype=np.float64),
    )


OPTIMIZERS = {
    "AdamW": lambda model: AdamW(model.named_parameters(), lr=0.01, decay=lambda p: p.ndim >= 2),
    "SGD": lambda model: SGD(model.named_parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
}


def train(model: Module, optimizer: str, ids: Any, targets: Any) -> tuple[list[Tensor], dict]:
    """Losses of three steps, and the state after them."""
    random.seed(5)
    update, losses = OPTIMIZERS[optimizer](model), []
    fake_cupy.reset()
    with fake_cupy.no_sync():
        for _ in range(3):
            update.zero_grad()
            loss = ((model(ids) - targets) ** 2).mean()
            loss.backward()
            clip_grad_norm(update, 0.5)
            update.step()
            losses.append(loss)
    assert fake_cupy.uploads == []
    return losses, model.state_dict()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_steps_are_the_same_without_a_sync(cupy: Any, optimizer: str) -> None:
    rng = np.random.default_rng(0)
    ids, targets = rng.integers(0, 7, (2, 5)), rng.standard_normal((2, 5, 3))
    losses, state = train(small_model(np.random.default_rng(1)), optimizer, ids, Tensor(targets))
    there = small_model(np.random.default_rng(1)).to("cuda")
    losses_there, state_there = train(there, optimizer, cupy.asarray(ids), Tensor(cupy.asarray(targets)))
    assert all(isinstance(p.data, cupy.ndarray) and p.device == "cuda:0" for p in there.parameters())
    np.testing.assert_allclose([float(x) for x in losses_there], [float(x) for x in losses], rtol=1e-9)
    for name in state:
        # Adam divides by small numbers, which amplifies roundings.
        np.testing.assert_allclose(state_there[name], state[name], rtol=1e-7, atol=1e-10, err_msg=name)


def bowl(x: Tensor) -> Tensor:
    return (x.sin() * x.exp()).sum()


FUNCTIONALS = {
    "vjp": lambda x, v: vjp(bowl, x),
    "jvp": lambda x, v: jvp(bowl, x, v),
    "hvp": lambda x, v: hvp(bowl, x, v),
    "checkpoint": lambda x, v: (checkpoint(bowl, x), grad(checkpoint(bowl, x), x)),
}


@pytest.mark.parametrize("name", FUNCTIONALS)
def test_functionals_compute_the_same_without_a_sync(cupy: Any, name: str) -> None:
    x, v = np.random.default_rng(2).standard_normal((2, 3))
    with fake_cupy.no_sync():
        there = FUNCTIONALS[name](Tensor(cupy.asarray(x), requires_grad=True), Tensor(cupy.asarray(v)))
    for ours, theirs in zip(there, FUNCTIONALS[name](Tensor(x, requires_grad=True), Tensor(v)), strict=True):
        assert isinstance(ours.data, cupy.ndarray)
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9)


def test_a_tensor_made_from_a_tensor_stays_on_the_device(cupy: Any) -> None:
    x = Tensor(cupy.asarray(np.ones(2, np.float32)))
    converted = Tensor(x, dtype=np.float64)
    assert isinstance(converted.data, cupy.ndarray)
    assert converted.dtype == np.float64
    assert Tensor(x).data is x.data


def test_gradients_come_back_from_the_device(cupy: Any) -> None:
    x = Tensor(np.arange(3.0), requires_grad=True)
    (x.to("cuda") ** 2).sum().backward()
    assert isinstance(x.grad.data, np.ndarray)
    assert x.grad.numpy().tolist() == [0.0, 2.0, 4.0]


# --- controls ---------------------------------------------------------------------------------------------------------


@pytest.mark.control
def test_a_hidden_sync_is_caught() -> None:
    x = Tensor(fake_cupy.cupy.ones(3), requires_grad=True)
    with fake_cupy.no_sync(), pytest.raises(fake_cupy.HostSync):
        x / float((x.data * x.data).sum())


@pytest.mark.control
def test_a_host_array_in_a_rule_is_caught() -> None:
    x = Tensor(fake_cupy.cupy.ones(3), requires_grad=True)
    with pytest.raises(TypeError, match="Unsupported type"):
        x * Tensor(np.ones(3))


# --- lists as indices -------------------------------------------------------------------------------------------------


@given(data=st.data())
def test_lists_are_indices_as_on_the_cpu(cupy: Any, data: st.DataObject) -> None:
    """Masks, numbers from either end, nested and empty lists, alone and beside slices; forward and back."""
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    mask = st.lists(st.booleans(), min_size=rows, max_size=rows)
    numbers = st.lists(st.integers(-rows, rows - 1), max_size=4)
    nested = st.lists(st.lists(st.integers(0, rows - 1), min_size=2, max_size=2), min_size=1, max_size=2)
    part = data.draw(st.one_of(mask, numbers, nested))
    index = data.draw(
        st.sampled_from([part, (part,), (part, slice(None)), (part, 0), (part, None), (..., slice(0, 1))])
    )
    a = data.draw(st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=(rows, columns))))
    results = []
    for array in (a, cupy.asarray(a)):
        x = Tensor(array, requires_grad=True)
        y = x[index]
        (gradient,) = grad((y * y).sum(), [x], create_graph=True)
        (second,) = grad(gradient.sum(), [x])
        results.append([t.numpy() for t in (y, gradient, second)])
    for on_cpu, on_gpu in zip(*results):
        np.testing.assert_array_equal(on_gpu, on_cpu)
    np.testing.assert_array_equal(results[0][0], a[index])


@pytest.mark.parametrize("index", [[True, False, True], [[True, False], [False, True], [True, True]], [0, 0, 2], []])
def test_a_list_is_an_index_of_scatter_and_take(cupy: Any, index: list) -> None:
    a = np.arange(6.0).reshape(3, 2)
    x = Tensor(cupy.asarray(a), requires_grad=True)
    values = x[index]
    np.testing.assert_array_equal(values.numpy(), a[np.array(index, dtype=None if index else int)])
    scattered = scatter(values, index, (3, 2))
    expected = np.zeros((3, 2))
    np.add.at(expected, np.array(index, dtype=None if index else int), values.numpy())
    np.testing.assert_array_equal(scattered.numpy(), expected)
