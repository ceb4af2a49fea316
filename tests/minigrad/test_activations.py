"""Activations as modules, the containers that hold them, and the sizes of layers; what is refused says what to do."""

from __future__ import annotations

from collections import deque
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import minigrad as mg
from minigrad import nn
from minigrad.gradcheck.choices import Choices
from tests.minigrad.helpers import leaf
from tests.minigrad.strategies import choices

MODULES = [
    (nn.ReLU(), mg.relu), (nn.GELU(), mg.gelu), (nn.GELU("tanh"), lambda x: mg.gelu(x, "tanh")), (nn.SiLU(), mg.silu),
    (nn.Tanh(), mg.tanh), (nn.Sigmoid(), mg.sigmoid), (nn.Softplus(), mg.softplus),
    (nn.Softmax(0), lambda x: mg.softmax(x, 0)), (nn.LogSoftmax(), mg.log_softmax), (nn.Identity(), lambda x: x * 1),
]  # fmt: skip


@pytest.mark.parametrize(("module", "function"), MODULES)
@given(c=choices())
def test_a_module_is_its_function(module: nn.Module, function: Any, c: Choices) -> None:
    a = c.array(c.shape(1, min_length=1))
    x, y = leaf(a), leaf(a)
    out, expected = module(x), function(y)
    np.testing.assert_array_equal(out.data, expected.data)
    for each in (out, expected):
        each.backward(np.cos(a))
    np.testing.assert_array_equal(x.grad.data, y.grad.data)
    assert list(module.parameters()) == []


@pytest.mark.parity
@pytest.mark.parametrize("module", [module for module, _ in MODULES])
def test_a_module_has_the_name_and_the_values_of_torch(module: nn.Module) -> None:
    torch = pytest.importorskip("torch")
    a = np.random.default_rng(0).normal(size=(3, 4)) * 10
    arguments = [vars(module)[name] for name in ("axis", "approximate") if name in vars(module)]
    theirs = getattr(torch.nn, type(module).__name__)(*arguments)
    np.testing.assert_allclose(module(leaf(a)).data, theirs(torch.tensor(a)).numpy(), atol=1e-12)


def test_a_sequence_of_layers_and_activations_prints_and_computes() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.GELU("tanh"), nn.Softmax())
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    assert model(np.ones((4, 2), np.float32)).shape == (4, 3)
    for text in ("1: ReLU()", "2: GELU(approximate='tanh')", "3: Softmax(axis=-1)"):
        assert text in repr(model)
    with pytest.raises(ValueError, match="no form of gelu"):
        nn.GELU("fast")


@pytest.mark.parametrize(
    ("given_instead", "advice"),
    [(mg.relu, r"function relu; use its module, such as nn\.ReLU\(\)"), (nn.ReLU, r"class ReLU; .* ReLU\(\)"),
     ([nn.ReLU()], r"list; unpack it with \*"), (3, "not int")],
)  # fmt: skip
def test_what_is_no_module_is_refused_with_advice(given_instead: Any, advice: str) -> None:
    with pytest.raises(TypeError, match=f"Sequential holds modules, not .*{advice}|{advice}"):
        nn.Sequential(nn.Linear(2, 3), given_instead)
    with pytest.raises(TypeError, match="takes a list of modules"):
        nn.ModuleList(nn.ReLU())  # type: ignore[arg-type]


# --- containers that hide parameters ----------------------------------------------------------------------------------

CONTAINERS = [
    lambda m: {"a": m}, lambda m: [m], lambda m: (1, m), lambda m: {m}, lambda m: frozenset([m]), lambda m: {m: 1},
    lambda m: [[m]], lambda m: {"a": [1, {"b": m}]}, lambda m: [[1, 2], [3, m]],
    lambda m: deque([m]), lambda m: MappingProxyType({"a": m}), lambda m: {"a": m}.values(), lambda m: {m: 1}.keys(),
]  # fmt: skip
parameter = nn.Parameter([1.0])


@pytest.mark.parametrize("hide", CONTAINERS)
@pytest.mark.parametrize("hidden", [nn.ReLU(), parameter])
def test_a_module_or_parameter_in_a_container_is_refused(hide: Any, hidden: Any) -> None:
    module = nn.Module()
    with pytest.raises(TypeError, match=r"Module\.layers is a .* would not be trained; use ModuleList"):
        module.layers = hide(hidden)


def test_a_container_that_is_filled_later_is_refused_when_parameters_are_asked_for() -> None:
    module = nn.Sequential(nn.Module())
    module[0].layers = []
    assert list(module.parameters()) == []
    module[0].layers.append(nn.Linear(1, 1))
    for ask in (module.state_dict, module.zero_grad, lambda: list(module.parameters())):
        with pytest.raises(TypeError, match=r"Module\.layers is a list of modules"):
            ask()


# --- sizes ------------------------------------------------------------------------------------------------------------

LAYERS = [
    (lambda n: nn.Linear(n, 3), "in_features"), (lambda n: nn.Linear(3, n, init=False), "out_features"),
    (lambda n: nn.Embedding(n, 3), "num_embeddings"), (lambda n: nn.Embedding(3, n), "embedding_dim"),
    (nn.LayerNorm, "dim"), (nn.RMSNorm, "dim"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "name"), LAYERS)
def test_a_wrong_size_of_a_layer_is_named(make: Any, name: str) -> None:
    for size in (-1, -2):
        with pytest.raises(ValueError, match=f"{name} must be 0 or more, not {size}"):
            make(size)
    for wrong in (2.0, "2", None, [2, 3], 1j):
        with pytest.raises(TypeError, match=f"{name} must be a whole number, not"):
            make(wrong)
    for size in (2, np.int64(2), np.array(2), 0):
        assert repr(make(size)) == repr(make(int(size)))


def test_norms_take_a_shape_of_one_axis_as_in_torch() -> None:
    assert nn.LayerNorm((3,)).weight.shape == nn.RMSNorm([3]).weight.shape == (3,)


def test_a_seed_makes_the_generator_of_a_layer() -> None:
    """`rng or default_rng()` took the seed 0 for no seed."""
    for seed in (0, 7):
        for make in (lambda rng: nn.Linear(2, 3, rng=rng), lambda rng: nn.Embedding(2, 3, rng=rng)):
            a, b = make(seed), make(np.random.default_rng(seed))
            np.testing.assert_array_equal(a.weight.data, b.weight.data)
