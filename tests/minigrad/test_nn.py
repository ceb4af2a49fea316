"""Modules: what is registered under which name, states that fit or are refused, and layers that compute what they
say.
"""

from __future__ import annotations

import copy
import importlib.util
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.backend import Array
from minigrad.fused.linear import linear_reference
from minigrad.fused.norm import layer_norm_reference, rms_norm_reference
from minigrad.graph import Rule
from minigrad.modes import mode
from minigrad.nn import (
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Module,
    ModuleList,
    Parameter,
    RMSNorm,
    Sequential,
    current_path,
)
from minigrad.tensor import Tensor
from tests.fake_cupy import installed
from tests.minigrad.helpers import seeds
from tests.minigrad.tolerances import FLOAT32_ROUNDINGS, FLOAT64_QUOTIENTS


class Block(Module):
    def __init__(self, dim: int, rng: np.random.Generator) -> None:
        self.norm = LayerNorm(dim)
        self.mlp = Sequential(Linear(dim, 2 * dim, rng=rng), Linear(2 * dim, dim, bias=False, rng=rng))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm(x))


class Model(Module):
    """Everything there is: nested modules, a list, a parameter of its own, a tied one, a table that is no parameter."""

    def __init__(self, seed: int = 0, dim: int = 4, tied: bool = True) -> None:
        rng = np.random.default_rng(seed)
        self.embedding = Embedding(7, dim, rng=rng)
        self.blocks = ModuleList(Block(dim, rng) for _ in range(2))
        self.head = Linear(dim, 7, bias=False, rng=rng)
        self.gain = Parameter(np.ones(dim), np.float32)
        self.table = np.linspace(0, 1, dim, dtype=np.float32)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, ids: np.ndarray) -> Tensor:
        x = self.embedding(ids) * self.gain + self.table
        for block in self.blocks:
            x = block(x)
        return self.head(x)


IDS = np.array([[0, 3, 6], [1, 1, 5]])
NAMES = [
    "gain",
    "embedding.weight",
    *(
        f"blocks.{i}.{name}"
        for i in range(2)
        for name in ("norm.weight", "norm.bias", "mlp.0.weight", "mlp.0.bias", "mlp.1.weight")
    ),
]


# --- names and structure ----------------------------------------------------------------------------------------------


def test_names_are_attribute_paths_and_tied_parameters_come_once() -> None:
    model = Model()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert [name for name, _ in model.named_parameters(tied=True)] == [*NAMES, "head.weight"]
    assert [name for name, _ in Model(tied=False).named_parameters()] == [*NAMES, "head.weight"]
    assert [name for name, _ in model.named_modules()][:5] == ["", "embedding", "blocks", "blocks.0", "blocks.0.norm"]
    assert model.num_parameters() == 4 + 28 + 2 * (4 + 4 + 32 + 8 + 32)


def test_a_module_in_two_places_is_listed_once() -> None:
    shared = Linear(2, 2)
    both = Sequential(shared, shared)
    assert [name for name, _ in both.named_parameters()] == ["0.weight", "0.bias"]
    assert [name for name, _ in both.named_modules()] == ["", "0"]


def test_reassigning_and_removing_attributes() -> None:
    layer = Linear(2, 3)
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    del layer.weight
    assert list(layer.parameters()) == []


@pytest.mark.parametrize("container", [list, tuple])
def test_a_plain_list_of_modules_is_refused(container: type) -> None:
    with pytest.raises(TypeError, match="Sequential.layers is a .*ModuleList"):
        Sequential().layers = container([Linear(2, 2)])


def test_module_list() -> None:
    layers = [Linear(2, 2) for _ in range(3)]
    modules = ModuleList(layers[:2])
    modules.append(layers[2])
    assert list(modules) == layers
    assert len(modules) == 3
    assert modules[-1] is layers[2]
    assert modules[1:] == layers[1:]
    with pytest.raises(TypeError, match="holds modules, not function"):
        modules.append(lambda x: x)


def test_forward_must_be_defined() -> None:
    with pytest.raises(NotImplementedError, match="ModuleList defines no forward"):
        ModuleList()(1)


def test_parameter_owns_its_array() -> None:
    given_by_user = np.ones(3)
    p = Parameter(given_by_user)
    p.data[...] = 7
    np.testing.assert_array_equal(given_by_user, np.ones(3))
    assert p.requires_grad
    with pytest.raises(TypeError, match="floating-point"):
        Parameter(np.arange(3))


def test_a_deep_copy_is_independent_and_keeps_ties() -> None:
    model = Model()
    twin = copy.deepcopy(model)
    assert twin.head.weight is twin.embedding.weight
    twin.gain.data[...] = 5
    np.testing.assert_array_equal(model.gain.numpy(), np.ones(4))


# --- states -----------------------------------------------------------------------------------------------------------


@given(seed=seeds)
def test_state_goes_from_one_model_to_another(seed: int) -> None:
    model, other = Model(seed), Model(seed + 1)
    state = model.state_dict()
    assert list(state) == NAMES
    assert not np.array_equal(other(IDS).numpy(), model(IDS).numpy())
    other.load_state_dict(state)
    assert other(IDS).numpy().tobytes() == model(IDS).numpy().tobytes()
    state["gain"][...] = 9  # copied out, and copied in
    assert (model.gain.numpy() == 1).all()
    assert (other.gain.numpy() == 1).all()


def test_state_without_copy_shares_memory() -> None:
    model = Model()
    assert all(
        np.shares_memory(array, p.data) for array, p in zip(model.state_dict(copy=False).values(), model.parameters())
    )


def test_a_state_that_does_not_fit_is_one_error_that_names_everything() -> None:
    model = Model()
    state = {name: a + 1 for name, a in model.state_dict().items()}
    del state["gain"], state["blocks.1.norm.bias"]
    state |= {
        "blocks.2.norm.bias": np.ones(4),
        "blocks.0.norm.bias": np.ones((4, 1)),
        "embedding.weight": np.ones((8, 4)),
        "blocks.0.norm.weight": np.array(list("abcd")),
    }
    before = model.state_dict()
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    assert str(caught.value) == (
        "this state does not fit Model, nothing was loaded: missing: gain, blocks.1.norm.bias; unexpected: "
        "blocks.2.norm.bias; "
        "misshapen: embedding.weight (given (8, 4), expected (7, 4)), blocks.0.norm.bias (given (4, 1), expected "
        "(4,)); "
        "not numbers: blocks.0.norm.weight (<U1)"
    )
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())


def test_without_strict_unknown_names_are_ignored_but_not_wrong_shapes() -> None:
    model = Model()
    model.load_state_dict({"gain": np.full(4, 3.0), "other": np.ones(2)}, strict=False)
    np.testing.assert_array_equal(model.gain.numpy(), np.full(4, 3))
    with pytest.raises(ValueError, match="misshapen: gain"):
        model.load_state_dict({"gain": np.ones(5)}, strict=False)


def test_a_tied_parameter_may_come_under_any_name_but_not_with_two_values() -> None:
    model, state = Model(0), Model(1).state_dict()
    state["head.weight"] = state["embedding.weight"]
    model.load_state_dict(state)
    del state["embedding.weight"]
    model.load_state_dict(state)
    np.testing.assert_array_equal(model.embedding.weight.numpy(), state["head.weight"])
    with pytest.raises(ValueError, match="head.weight and embedding.weight are tied"):
        model.load_state_dict(state | {"embedding.weight": np.zeros((7, 4))})
    np.testing.assert_array_equal(model.embedding.weight.numpy(), state["head.weight"])


@given(seed=seeds, dtype=st.sampled_from([np.float16, np.float64]))
def test_loading_converts_to_the_dtype_of_the_parameter(seed: int, dtype: Any) -> None:
    array = np.random.default_rng(seed).standard_normal((2, 3)).astype(dtype)
    layer = Linear(3, 2, bias=False)
    layer.load_state_dict({"weight": array})
    assert layer.weight.dtype == np.float32
    np.testing.assert_array_equal(layer.weight.numpy(), array.astype(np.float32))


# --- everything at once -----------------------------------------------------------------------------------------------


def test_train_and_eval_reach_all_modules() -> None:
    model = Sequential(Linear(4, 4), Sequential(Dropout(0.5)))
    x = Tensor(np.ones((50, 4), np.float32))
    assert model.eval() is model
    np.testing.assert_array_equal(model(x).numpy(), model[0](x).numpy())
    assert (model.train()(x).numpy() == 0).any()


def test_astype_converts_parameters_gradients_and_tables() -> None:
    model = Model()
    model(IDS).sum().backward()
    assert model.astype(np.float64) is model
    assert {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    assert model(IDS).dtype == model.table.dtype == np.float64
    assert model.head.weight is model.embedding.weight


def test_astype_to_the_same_dtype_moves_nothing() -> None:
    model = Model()
    before = [p.data for p in model.parameters()]
    model.astype(np.float32)
    assert all(p.data is array for p, array in zip(model.parameters(), before))


def test_to_moves_parameters_gradients_and_tables() -> None:
    model = Model()
    expected = model(IDS)
    expected.sum().backward()
    gradient = model.gain.grad.numpy()
    with installed() as cupy:
        model.to("cuda")
        assert all(isinstance(a, cupy.ndarray) for a in (model.gain.data, model.gain.grad.data, model.table))
        found = model(Tensor(cupy.asarray(IDS))).numpy()
        model.to("cpu")
    np.testing.assert_allclose(found, expected.numpy(), rtol=FLOAT32_ROUNDINGS)  # sums in another order
    np.testing.assert_array_equal(model.gain.grad.numpy(), gradient)


def test_zero_grad() -> None:
    model = Model()
    model(IDS).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


# --- layers -----------------------------------------------------------------------------------------------------------

LAYERS = {
    "Linear": (
        lambda rng, n: Linear(n, 3, rng=rng, dtype=np.float64),
        lambda layer, x: linear_reference(x, layer.weight, layer.bias),
    ),
    "Linear without bias": (
        lambda rng, n: Linear(n, 3, False, rng=rng, dtype=np.float64),
        lambda layer, x: linear_reference(x, layer.weight),
    ),
    "LayerNorm": (
        lambda rng, n: LayerNorm(n, 1e-3, dtype=np.float64),
        lambda layer, x: layer_norm_reference(x, layer.weight, layer.bias, 1e-3),
    ),
    "LayerNorm without bias": (
        lambda rng, n: LayerNorm(n, bias=False, dtype=np.float64),
        lambda layer, x: layer_norm_reference(x, layer.weight),
    ),
    "RMSNorm": (
        lambda rng, n: RMSNorm(n, 1e-3, dtype=np.float64),
        lambda layer, x: rms_norm_reference(x, layer.weight, 1e-3),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@given(seed=seeds, lead=st.lists(st.integers(1, 3), max_size=2), n=st.integers(1, 5))
def test_layers_compute_their_function(name: str, seed: int, lead: list[int], n: int) -> None:
    make, reference = LAYERS[name]
    rng = np.random.default_rng(seed)
    layer = make(rng, n)
    for p in layer.parameters():
        p.data[...] = rng.standard_normal(p.shape)
    x = Tensor(rng.standard_normal((*lead, n)))
    expected = reference(layer, x).numpy()  # the same sums in another order
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=FLOAT64_QUOTIENTS, atol=FLOAT64_QUOTIENTS)
    layer(x).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in layer.parameters())


@pytest.mark.parametrize("name", LAYERS)
@given(seed=seeds, batch=st.integers(1, 3), n=st.integers(1, 5))
def test_forward_array_equals_forward(name: str, seed: int, batch: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    layer = LAYERS[name][0](rng, n)
    for p in layer.parameters():
        p.data[...] = rng.standard_normal(p.shape)
    x = rng.standard_normal((batch, n))
    y = layer.forward_array(x)
    assert type(y) is np.ndarray
    expected = layer(Tensor(x)).numpy()  # the same sums in another order
    np.testing.assert_allclose(y, expected, rtol=FLOAT64_QUOTIENTS, atol=FLOAT64_QUOTIENTS)


def test_embedding_takes_rows() -> None:
    layer = Embedding(7, 4)
    np.testing.assert_array_equal(layer(IDS).numpy(), layer.weight.numpy()[IDS])


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_impossible_dropout_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="dropout probability"):
        Dropout(p)


@given(seed=seeds)
def test_initial_values_depend_on_the_generator_alone(seed: int) -> None:
    one, same, other = (Model(s).state_dict() for s in (seed, seed, seed + 1))
    assert all(np.array_equal(one[name], same[name]) for name in NAMES)
    assert not np.array_equal(one["embedding.weight"], other["embedding.weight"])
    double = Linear(5, 4, rng=np.random.default_rng(seed), dtype=np.float64).weight.numpy()
    single = Linear(5, 4, rng=np.random.default_rng(seed)).weight.numpy()
    np.testing.assert_array_equal(double.astype(np.float32), single)


def test_layers_without_a_generator_differ() -> None:
    assert not np.array_equal(Linear(3, 3).weight.numpy(), Linear(3, 3).weight.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers_without_init_are_zero_and_draw_nothing(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    layers = [Linear(3, 2, rng=rng, dtype=dtype, init=False), Embedding(3, 2, rng=rng, dtype=dtype, init=False)]
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state
    assert Linear(3, 2, bias=False, init=False).bias is None
    for p in (p for layer in layers for p in layer.parameters()):
        np.testing.assert_array_equal(p.numpy(), np.zeros(p.shape, dtype), strict=True)
        p.data += 1  # every element has memory of its own
        np.testing.assert_array_equal(p.numpy(), np.ones(p.shape, dtype))
    assert [p.shape for p in layers[0].parameters()] == [(2, 3), (2,)]


def test_initial_distributions() -> None:
    rng = np.random.default_rng(1)
    layer, rows = Linear(100, 1000, rng=rng), Embedding(1000, 100, rng=rng).weight.numpy()
    for values in (layer.weight.numpy(), layer.bias.numpy()):
        assert np.abs(values).max() <= 0.1
        assert values.std() == pytest.approx(0.1 / 3**0.5, rel=0.05)  # uniform; 5% is 2 standard errors of 1000 values
    assert rows.mean() == pytest.approx(0, abs=0.02)
    assert rows.std() == pytest.approx(1, rel=0.02)


# --- what is printed --------------------------------------------------------------------------------------------------


def test_summary_is_an_aligned_table() -> None:
    model = Model()
    model.gain.requires_grad = False
    lines = model.summary().splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [line.split() for line in lines]
    assert cells[0] == ["name", "shape", "dtype", "parameters"]
    assert cells[2] == ["gain", "(4,)", "float32", "frozen", "4"]
    assert cells[3] == ["embedding.weight", "(7,", "4)", "float32", "28"]
    assert cells[-3] == ["head.weight", "(7,", "4)", "float32", "tied", "to", "embedding.weight"]
    assert cells[-1] == ["total", "768", "bytes", "192"]


def test_repr_shows_the_tree_and_folds_what_repeats() -> None:
    assert (
        repr(Model())
        == """\
Model(
  embedding: Embedding(7, 4)
  blocks: ModuleList(
    0-1: 2 x Block(
      norm: LayerNorm(4, eps=1e-05)
      mlp: Sequential(
        0: Linear(4, 8)
        1: Linear(8, 4, bias=False)
      )
    )
  )
  head: Linear(4, 7, bias=False)
)"""
    )
    assert repr(Sequential(RMSNorm(3), Dropout(0.1))) == "Sequential(\n  0: RMSNorm(3, eps=1e-06)\n  1: Dropout(0.1)\n)"


# --- where an op runs -------------------------------------------------------------------------------------------------


@pytest.fixture
def paths() -> Iterator[list[str]]:
    """The module path of each op that is recorded in this thread."""
    seen: list[str] = []

    def watch(data: Array, inputs: Sequence[Tensor], vjp: Rule) -> Rule:
        seen.append(current_path())
        return vjp

    mode.op_hook = watch
    yield seen
    mode.op_hook = None


def test_current_path_is_known_with_an_op_hook(paths: list[str]) -> None:
    Model()(IDS)
    assert list(dict.fromkeys(paths)) == [
        "embedding",
        "",
        "blocks.0.norm",
        "blocks.0.mlp.0",
        "blocks.0.mlp.1",
        "blocks.0",
        "blocks.1.norm",
        "blocks.1.mlp.0",
        "blocks.1.mlp.1",
        "blocks.1",
        "head",
    ]
    assert current_path() == ""


def test_current_path_after_an_error_and_in_another_thread(paths: list[str]) -> None:
    class Broken(Module):
        def forward(self, act: Callable) -> Any:
            return act()

    model = Model()
    model.head = Broken()
    model.blocks = ModuleList([Block(4, np.random.default_rng(0))])
    other: list[str] = []

    def look() -> None:
        thread = threading.Thread(target=lambda: other.append(current_path()))
        thread.start()
        thread.join()
        raise ArithmeticError(current_path())

    with pytest.raises(ArithmeticError, match="^head$"):
        model.head(look)
    assert other == [""]
    assert current_path() == ""


def test_current_path_is_empty_without_an_op_hook() -> None:
    class Asks(Module):
        def forward(self) -> Any:
            return current_path()

    assert Sequential(Asks())[0]() == ""


# --- peers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@given(seed=seeds)
def test_names_values_and_gradients_equal_torch(seed: int) -> None:
    import torch

    rng = np.random.default_rng(seed)
    ours = Sequential(
        Embedding(7, 4, rng=rng), Linear(4, 6, rng=rng), LayerNorm(6), RMSNorm(6), Linear(6, 2, bias=False, rng=rng)
    )
    ours.astype(np.float64)
    peer = torch.nn.Sequential(
        torch.nn.Embedding(7, 4),
        torch.nn.Linear(4, 6),
        torch.nn.LayerNorm(6),
        torch.nn.RMSNorm(6, eps=1e-6),
        torch.nn.Linear(6, 2, bias=False),
    ).double()
    state = ours.state_dict()
    assert list(state) == list(peer.state_dict())
    peer.load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    y, expected = ours(IDS), peer(torch.tensor(IDS))
    (y * y).sum().backward()
    (expected * expected).sum().backward()
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    for p, q in zip(ours.parameters(), peer.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=FLOAT64_QUOTIENTS, atol=FLOAT64_QUOTIENTS)
