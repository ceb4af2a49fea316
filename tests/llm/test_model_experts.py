"""A mixture of experts: the same as a plain loop over tokens and experts, right gradients, and the balancing loss."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llm.model.experts
from llm.model.block import Block
from llm.model.config import GPTConfig
from llm.model.experts import Experts, Routing, balance, largest
from llm.model.gpt import GPT
from llm.model.mlp import MLP
from llm.training.objectives import NextToken
from minigrad import Tensor, no_grad
from minigrad.gradcheck import GradientError, gradcheck
from minigrad.modes import op_hook
from minigrad.ops import softmax
from tests.llm.gpts import SEEDS, VOCAB, mixtures, random_gpt, token_ids
from tests.llm.steps import KINDS, assert_close, gradients, random_batch, workers_of

SMALL: dict[str, Any] = {"vocab_size": VOCAB, "context": 16, "layers": 2, "heads": 2, "dim": 8, "mlp_dim": 5}
MIXTURE = GPTConfig(**SMALL, experts=4, experts_per_token=2, balance_loss=0.5)


@st.composite
def configs_with_experts(draw: st.DrawFn) -> GPTConfig:
    return GPTConfig(**SMALL | {"mlp": draw(st.sampled_from(["gelu", "swiglu"])), "bias": draw(st.booleans())} | draw(
        mixtures(layers=2)
    ))  # fmt: skip


def random_experts(config: GPTConfig, seed: int) -> Experts:
    layer, rng = Experts(config, np.float64), np.random.default_rng(seed)
    for p in layer.parameters():
        p.data += rng.normal(0, 0.5, p.shape)
    return layer


def one_by_one(layer: Experts, x: np.ndarray) -> np.ndarray:
    """The definition, for each token by itself: x (..., C) -> (..., C)."""
    k, y = layer.config.experts_per_token, np.zeros_like(x)
    for at in np.ndindex(x.shape[:-1]):
        scores = layer.router.weight.data @ x[at]
        p = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        best = sorted(range(len(p)), key=lambda e: -p[e])[:k]
        total = sum(p[e] for e in best) if layer.config.normalize_experts else 1.0
        for e in best:
            y[at] += p[e] / total * layer.experts[e](Tensor(x[at][None])).data[0]
    return y


# --- the output -------------------------------------------------------------------------------------------------------


def difference(layer: Experts, seed: int, tokens: int) -> float:
    x = np.random.default_rng(seed).standard_normal((2, tokens, layer.config.dim))
    return float(np.abs(layer(Tensor(x)).data - one_by_one(layer, x)).max(initial=0.0))


@given(configs_with_experts(), SEEDS, st.integers(0, 9))
def test_groups_equal_a_loop_over_tokens_and_experts(config: GPTConfig, seed: int, tokens: int) -> None:
    layer = random_experts(config, seed)
    assert difference(layer, seed, tokens) < 1e-12
    with no_grad():  # experts without tokens are left out
        assert difference(layer, seed, tokens) < 1e-12


@pytest.mark.control
@pytest.mark.parametrize("name", ["softmax", "take_along_axis", "embedding", "largest"])
def test_an_error_in_a_step_of_the_groups_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(llm.model.experts, name)
    wrong = {
        "softmax": lambda *a, **o: right(*a, **o) ** 1.1,
        "take_along_axis": lambda *a, **o: right(*a, **o)[:, ::-1],  # the weights of other experts
        "embedding": lambda ids, rows: right(ids[::-1].copy(), rows),  # the rows of other tokens
        "largest": lambda p, k: right(-p, k),  # the worst experts
    }
    monkeypatch.setattr(llm.model.experts, name, wrong[name])
    assert difference(random_experts(MIXTURE, 0), 0, 5) > 1e-3


@given(SEEDS, st.booleans(), st.sampled_from(["gelu_tanh", "swiglu"]))
def test_one_expert_equals_a_dense_mlp(seed: int, normalized: bool, mlp: Any) -> None:
    config = GPTConfig(**SMALL, mlp=mlp, experts=1, experts_per_token=1, normalize_experts=normalized, balance_loss=0.5)
    model, dense = random_gpt(config, seed), GPT(replace(config, experts=None), rng=None, dtype=np.float64).eval()
    state = {name.replace("mlp.experts.0.", "mlp."): a for name, a in model.state_dict().items()}
    dense.load_state_dict({name: a for name, a in state.items() if "router" not in name})
    ids, targets = token_ids(np.random.default_rng(seed), 2, 2, 7)
    np.testing.assert_allclose(model(ids).data, dense(ids).data, rtol=1e-12, atol=1e-12)
    # One expert has all tokens and all probability: the balancing loss is 1 x its coefficient.
    assert model.loss(ids, targets).item() == pytest.approx(dense.loss(ids, targets).item() + 0.5, rel=1e-12)


def test_of_equal_probabilities_the_first_are_chosen() -> None:
    chosen = largest(np.array([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.1, 0.4]]), 2)
    assert chosen.tolist() == [[0, 1], [1, 3]]


def test_dense_layers_have_one_mlp_of_their_own_width() -> None:
    model = GPT(replace(MIXTURE, dense_layers=(1,), dense_mlp_dim=3), rng=None)
    assert isinstance(model.blocks[0].mlp, Experts)
    assert isinstance(model.blocks[1].mlp, MLP)
    assert model.blocks[0].mlp.experts[0].down.weight.shape == (8, 5)
    assert model.blocks[1].mlp.down.weight.shape == (8, 3)
    # Without experts there are no dense layers among others: the width is that of all layers.
    assert Block(replace(MIXTURE, experts=None, dense_mlp_dim=3), 1).mlp.down.weight.shape == (8, 5)


def calls_of_experts(model: GPT, ids: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tokens in each call of an expert."""
    sizes: list[int] = []
    forward = MLP.forward
    with monkeypatch.context() as patch:
        patch.setattr(MLP, "forward", lambda self, x: sizes.append(x.shape[0]) or forward(self, x))
        model(ids)
    return sizes


def test_experts_without_tokens_cost_nothing_where_no_gradient_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = random_gpt(replace(MIXTURE, experts=64), 0), token_ids(np.random.default_rng(0), 1, 3)
    with no_grad():
        sizes = calls_of_experts(model, ids, monkeypatch)
        assert 0 not in sizes
        assert sum(sizes) == 2 * 3 * 2  # layers x tokens x experts of a token
        with op_hook(lambda data, inputs, vjp: vjp):  # such as a checkpoint, which asks what the graph would hold
            assert len(calls_of_experts(model, ids, monkeypatch)) == 2 * 64
    assert len(calls_of_experts(model, ids, monkeypatch)) == 2 * 64


# --- gradients --------------------------------------------------------------------------------------------------------


def check_layer(config: GPTConfig, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of a layer and of the balancing loss, with the choice of experts held fixed: it is not
    differentiable.
    """
    layer, rng = random_experts(config, seed), np.random.default_rng(seed)
    x, direction = rng.standard_normal((2, 1, 6, config.dim))
    chosen = largest(softmax(layer.router(Tensor(x[0]))).data, config.experts_per_token)
    names, parameters = zip(*layer.named_parameters())

    def loss(x: Tensor, *values: Tensor) -> Tensor:
        for name, value in zip(names, values):
            *path, last = name.split(".")
            module: Any = layer
            for step in path:
                module = getattr(module, step)
            setattr(module, last, value)
        routing: list[Routing] = []
        y = layer(x, routing)
        return (y * Tensor(direction)).sum() + balance(routing) * 3

    with monkeypatch.context() as patch:
        patch.setattr(llm.model.experts, "largest", lambda probabilities, k: chosen)
        gradcheck(loss, [x, *(p.data.copy() for p in parameters)], mode="random", seed=seed % 2**31)


@settings(max_examples=settings().max_examples // 2)
@given(config=configs_with_experts(), seed=SEEDS)
def test_gradients_of_a_layer_are_those_of_finite_differences(config: GPTConfig, seed: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        check_layer(config, seed, monkeypatch)


@pytest.mark.control
def test_a_router_without_gradient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm.model.experts, "softmax", lambda x, axis: softmax(x, axis=axis).detach())
    with pytest.raises(GradientError):
        check_layer(MIXTURE, 0, monkeypatch)


@given(SEEDS)
def test_the_balancing_loss_alone_moves_every_router(seed: int) -> None:
    model, ids = random_gpt(MIXTURE, seed), token_ids(np.random.default_rng(seed), 2, 6)
    routing: list[Routing] = []
    model.hidden(ids, routing=routing)
    balance(routing).backward()
    for block in model.blocks:
        assert np.abs(block.mlp.router.weight.grad.data).max() > 1e-9
    assert model.blocks[1].mlp.experts[0].up.weight.grad is None  # which expert computes what: no part in it


def test_an_expert_without_tokens_gets_a_gradient_of_zeros() -> None:
    model, (ids, targets) = (
        random_gpt(replace(MIXTURE, experts=16, layers=1), 0),
        token_ids(np.random.default_rng(0), 2, 1, 2),
    )
    model.loss(ids, targets).backward()
    used = [bool(expert.up.weight.grad.data.any()) for expert in model.blocks[0].mlp.experts]
    assert 1 < sum(used) <= 4


# --- the balancing loss -----------------------------------------------------------------------------------------------


def routings(logits: np.ndarray, k: int) -> list[Routing]:
    """The decisions of routers with these logits, (layers, N, E)."""
    probabilities = [softmax(Tensor(layer), axis=-1) for layer in logits]
    return [Routing(p, largest(p.data, k)) for p in probabilities]


@given(SEEDS, st.integers(1, 3), st.integers(1, 5), st.data())
def test_the_balancing_loss_is_that_of_transformers(seed: int, layers: int, E: int, data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    k, rng = data.draw(st.integers(1, E)), np.random.default_rng(seed)
    logits, mask = rng.standard_normal((layers, 8, E)), np.append([True], rng.integers(0, 2, 7)).astype(bool)
    for real in (None, mask):
        theirs = mixtral.load_balancing_loss_func(
            tuple(torch.tensor(layer) for layer in logits),
            E,
            k,
            None if real is None else torch.tensor(real.reshape(2, 4)).long(),
        )
        # They count the choices, and average over padding, in float32.
        assert balance(routings(logits, k), real).item() == pytest.approx(float(theirs), rel=1e-6)


def test_the_balancing_loss_is_k_if_all_experts_are_used_equally_and_E_if_one_is() -> None:
    E = 8
    for k in (1, 2, 3):
        assert balance(routings(np.zeros((2, 5, E)), k)).item() == pytest.approx(k)
        even = np.roll(np.eye(E) * 1e-9, 1, axis=1)  # nearly the same probabilities, and each expert the first of one
        assert balance(routings(even[None], 1)).item() == pytest.approx(1)
    alone = np.zeros((2, 5, E))
    alone[..., 3] = 100  # one expert gets all tokens, and all probability
    assert balance(routings(alone, 1)).item() == pytest.approx(E)


@given(SEEDS, st.booleans())
def test_by_layer_it_is_the_mean_of_the_layers(seed: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    layers, mask = routings(rng.standard_normal((3, 8, 4)), 2), np.arange(8) > 2 if masked else None
    expected = np.mean([balance([layer], mask).item() for layer in layers])
    assert balance(layers, mask, by_layer=True).item() == pytest.approx(expected)


def test_only_by_layer_layers_that_use_one_expert_each_are_noticed() -> None:
    collapsed = routings(100 * np.eye(4)[:, None] * np.ones((1, 6, 1)), 1)  # layer i uses expert i alone
    assert balance(collapsed).item() == pytest.approx(1)  # as if all was even
    assert balance(collapsed, by_layer=True).item() == pytest.approx(4)


@given(SEEDS, st.booleans(), st.booleans())
def test_the_loss_of_a_model_contains_the_balancing_loss(seed: int, padded: bool, by_layer: bool) -> None:
    model, rng = random_gpt(replace(MIXTURE, balance_by_layer=by_layer), seed), np.random.default_rng(seed)
    ids, targets = token_ids(rng, 2, 3, 5)
    mask = np.arange(5) >= rng.integers(0, 5, (3, 1)) if padded else None
    targets[:, -1] = -100
    routing: list[Routing] = []
    model.hidden(ids, mask=mask, routing=routing)
    expected = 0.5 * balance(routing, None if mask is None else mask.reshape(-1), by_layer=by_layer).item()
    count = int((targets != -100).sum() if mask is None else (mask & (targets != -100)).sum())
    loss = partial(model.loss, ids, targets, mask=mask)
    if count:
        assert loss().item() - loss(with_balance=False).item() == pytest.approx(expected)
    total = loss(reduction="sum").item() - loss(reduction="sum", with_balance=False).item()
    assert total == pytest.approx(expected * count)
    none = loss(reduction="none").data
    np.testing.assert_array_equal(none, loss(reduction="none", with_balance=False).data)


@pytest.mark.control
def test_padding_in_the_balancing_loss_is_noticed() -> None:
    model, ids = random_gpt(MIXTURE, 0), token_ids(np.random.default_rng(0), 2, 5)
    routing: list[Routing] = []
    model.hidden(ids, routing=routing)
    mask = np.arange(10) % 5 > 1
    assert abs(balance(routing, mask).item() - balance(routing).item()) > 1e-3


def test_only_padding_has_no_balancing_loss() -> None:
    model, ids = random_gpt(MIXTURE, 0), token_ids(np.random.default_rng(0), 2, 5)
    loss = model.loss(ids, ids, mask=np.zeros(5, dtype=bool), reduction="sum")
    loss.backward()
    assert loss.item() == 0
    assert all(np.isfinite(p.grad.data).all() for p in model.parameters() if p.grad is not None)


def test_evaluation_is_of_the_cross_entropy_alone() -> None:
    model, batch = random_gpt(MIXTURE, 0), token_ids(np.random.default_rng(0), 2, 2, 5)
    plain = model.loss(*batch, reduction="sum", with_balance=False).item()
    assert NextToken().loss_sum(model, tuple(batch)).item() == plain
    assert NextToken().loss_sum(model.train(), tuple(batch)).item() > plain + 1


# --- training ---------------------------------------------------------------------------------------------------------


@given(SEEDS, st.booleans())
def test_recomputing_gives_the_same_bits_when_experts_have_no_tokens(seed: int, with_mask: bool) -> None:
    model, (ids, targets) = (
        random_gpt(replace(MIXTURE, experts=16), seed),
        token_ids(np.random.default_rng(seed), 2, 2, 3),
    )
    found = []
    for model.recompute in (False, True):
        model.zero_grad()
        loss = model.loss(ids, targets, mask=np.array([False, True, True]) if with_mask else None)
        loss.backward()
        found.append([loss.data, *(p.grad.data.copy() for p in model.parameters())])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@KINDS
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_workers_give_the_mean_of_what_their_parts_give(kind: Any, count: int, recompute: bool) -> None:
    """Each balances the experts over its own tokens. Most experts have no tokens in some of the workers."""
    model = random_gpt(replace(MIXTURE, context=6, experts=16), 1).train()
    model.recompute = recompute
    batch = random_batch(5, 4)
    with workers_of(model, count, kind) as workers:
        found = []
        for _ in range(2):
            model.zero_grad()
            found.append((workers.accumulate(batch), gradients(model)))
    assert found[0][0] == found[1][0]
    assert all(np.array_equal(g, found[1][1][name]) for name, g in found[0][1].items())

    model.zero_grad()
    total = 0.0
    for inputs, targets in zip(*(np.array_split(a, count) for a in batch)):
        loss = model.loss(inputs, targets) * (len(inputs) / 4)
        loss.backward()
        total += loss.item()
    assert found[0][0] == pytest.approx(total, rel=1e-12)
    assert_close(found[0][1], gradients(model))


def test_the_balancing_loss_spreads_tokens_over_the_experts() -> None:
    """A router that sends everything to one expert learns to use all, by the balancing loss alone."""
    layer = random_experts(replace(MIXTURE, experts_per_token=1), 0)
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((1, 200, 8)) + 1)
    layer.router.weight.data[...] = 0.1 * rng.standard_normal((4, 8))
    layer.router.weight.data[0] += 0.5  # the tokens have a mean of 1, so expert 0 has the largest score
    before = None
    for _ in range(300):
        layer.zero_grad()
        routing: list[Routing] = []
        layer(x, routing)
        loss = balance(routing)
        loss.backward()
        before = before or loss.item()
        layer.router.weight.data -= 0.5 * layer.router.weight.grad.data
    assert before > 2
    assert loss.item() < 1.1
    assert np.bincount(routing[0].chosen.reshape(-1), minlength=4).min() > 20
