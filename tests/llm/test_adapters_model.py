"""Adapters on models with drawn choices: off is the base to the bit, merged is unmerged, and all ways to read a text
give the same logits.
"""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.hub.tuned import add_adapter
from llm.model.adapters.attach import adapter_off, sharing_weights
from llm.model.adapters.merge import merge
from llm.model.cache_pool import CachePool
from llm.model.classifier import Classifier
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from llm.parallel.threads import Threads
from llm.parallel.workers import Workers
from llm.runs.tuning_options import TuningOptions
from llm.tuning import add_lora, add_prefix, add_prompt
from minigrad import no_grad, seed
from minigrad.modes import op_hook
from minigrad.optim import AdamW
from tests.llm.adapted import ADAPTERS, adapt, adapted_gpt, lora_options
from tests.llm.gpts import FLOAT64_SUMS, SEEDS, VOCAB, configs, random_gpt, token_ids, without_jumps
from tests.llm.steps import KINDS, workers_of

ROOM = 40  # tokens, for texts and for virtual tokens before them
SMALL = GPTConfig(vocab_size=VOCAB, context=ROOM, layers=2, heads=2, kv_heads=1, dim=8, positions="rope", mlp="swiglu")
T = 9


def logits_of(model: GPT, ids: np.ndarray, **options: Any) -> np.ndarray:
    with no_grad():
        return model(ids, **options).data


@given(configs(context=ROOM), ADAPTERS, SEEDS)
def test_off_is_the_base_to_the_bit(config: GPTConfig, adapter: Any, seed: int) -> None:
    ids, base = token_ids(np.random.default_rng(seed), 2, T), random_gpt(config, seed)
    model = adapted_gpt(config, adapter, seed)
    with adapter_off(model):
        np.testing.assert_array_equal(logits_of(model, ids), logits_of(base, ids))
        np.testing.assert_array_equal(decoded(model, ids), decoded(base, ids))
    with adapter_off(base):  # a model without an adapter
        logits_of(base, ids)


@given(configs(context=ROOM), lora_options(), SEEDS)
def test_lora_changes_nothing_at_first(config: GPTConfig, options: Any, seed: int) -> None:
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, T)
    before = logits_of(model, ids)
    add_lora(model, **options)
    np.testing.assert_allclose(logits_of(model, ids), before, rtol=1e-13, atol=1e-13)  # DoRA divides by its norms


@given(configs(context=ROOM), lora_options(), SEEDS)
def test_merged_is_unmerged(config: GPTConfig, options: Any, seed: int) -> None:
    model, ids = adapted_gpt(config, (add_lora, options), seed), token_ids(np.random.default_rng(seed), 2, T)
    before, loss = logits_of(model, ids), model.loss(ids, ids).item()
    merge(model)
    scale = max(1.0, np.abs(before).max())
    assert np.abs(logits_of(model, ids) - before).max() < 1e-12 * scale * 10
    assert model.loss(ids, ids).item() == pytest.approx(loss, rel=1e-11)
    # It is an ordinary model again: all of it is trained, and it has the parameters of its configuration.
    assert type(model) is GPT and all(p.requires_grad for p in model.parameters())
    fresh = GPT(model.config, rng=None)
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in fresh.named_parameters()}


def test_merging_in_float32_changes_logits_by_rounding_only() -> None:
    ids = token_ids(np.random.default_rng(0), 2, T)
    for targets in ("all-linear", ["embedding", "head"]):
        model = adapted_gpt(SMALL, (add_lora, {"targets": targets, "rank": 4}), 1, np.float32)
        before = logits_of(model, ids)
        merge(model)
        # Weights are rounded once more, to 6e-8 of their size; logits are sums of some hundred products.
        np.testing.assert_allclose(logits_of(model, ids), before, rtol=1e-4, atol=1e-5 * np.abs(before).max())


@pytest.mark.parametrize("targets", [["embedding"], ["head"]])
def test_merging_one_end_of_a_tied_head_unties_it(targets: list[str]) -> None:
    model = adapted_gpt(replace(SMALL, tied_head=True), (add_lora, {"targets": targets}), 0)
    ids, table = token_ids(np.random.default_rng(0), 1, T), model.embedding.weight.data.copy()
    before = logits_of(model, ids)
    merge(model)
    assert not model.config.tied_head
    other = model.head if targets == ["embedding"] else model.embedding
    np.testing.assert_array_equal(other.weight.data, table)  # the end without an update is as it was
    np.testing.assert_allclose(logits_of(model, ids), before, **FLOAT64_SUMS)


def test_dora_leaves_rows_of_zeros_alone() -> None:
    """A head has them where a vocabulary was padded. Nothing can be divided by their length."""
    model, ids = random_gpt(SMALL, 0), token_ids(np.random.default_rng(0), 2, T)
    model.blocks[0].attention.qkv.weight.data[3] = 0
    before = logits_of(model, ids)
    add_lora(model, targets="all-linear", dora=True)
    np.testing.assert_allclose(logits_of(model, ids), before, rtol=1e-12, atol=1e-12)  # float64: it divides by norms
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    assert all(np.isfinite(p.grad.data).all() for _, p in model.named_trainable() if p.grad is not None)
    merge(model)
    np.testing.assert_allclose(logits_of(model, ids), before, rtol=1e-12, atol=1e-12)


def test_a_prefix_is_not_merged() -> None:
    for add in (add_prefix, add_prompt):
        add(model := random_gpt(SMALL, 0), tokens=2)
        with pytest.raises(ValueError, match="cannot be merged"):
            merge(model)
    with pytest.raises(ValueError, match="nothing to merge"):
        merge(random_gpt(SMALL, 0))


# --- all ways to read a text ------------------------------------------------------------------------------------------


def decoded(model: GPT, ids: np.ndarray, prompt: int = 3) -> np.ndarray:
    """With a cache: some tokens in one call, then single ones."""
    cache = KVCache(model.config)
    pieces = [logits_of(model, ids[:, :prompt], cache=cache)]
    pieces += [logits_of(model, ids[:, t : t + 1], cache=cache) for t in range(prompt, ids.shape[1])]
    return np.concatenate(pieces, axis=1)


@given(configs(context=ROOM), ADAPTERS, SEEDS, st.integers(1, T))
def test_with_a_cache_the_logits_are_the_same(config: GPTConfig, adapter: Any, seed: int, prompt: int) -> None:
    model, ids = adapted_gpt(config, adapter, seed), token_ids(np.random.default_rng(seed), 2, T)
    expected = model(ids).data  # recorded
    np.testing.assert_allclose(logits_of(model, ids), expected, **FLOAT64_SUMS)
    np.testing.assert_allclose(decoded(model, ids, prompt), expected, **FLOAT64_SUMS)
    with op_hook(lambda data, inputs, vjp: vjp):  # single tokens by `forward` too
        np.testing.assert_allclose(decoded(model, ids, prompt), expected, **FLOAT64_SUMS)


@given(configs(context=ROOM), ADAPTERS, SEEDS)
def test_in_a_pool_texts_of_different_lengths_get_the_logits_that_they_get_alone(
    config: GPTConfig, adapter: Any, seed: int
) -> None:
    rng, model = np.random.default_rng(seed), adapted_gpt(config, adapter, seed)
    pool, texts = CachePool(config, slots=3), [token_ids(rng, n) for n in (4, 1, 6)]
    for slot, text in enumerate(texts):
        logits_of(model, text[None], cache=pool.rows([slot]))
    new = token_ids(rng, 3, 2)
    found = [logits_of(model, new[:, t : t + 1], cache=pool.rows([0, 1, 2]))[:, 0] for t in range(2)]
    for row, text in enumerate(texts):
        expected = logits_of(model, np.concatenate([text, new[row]])[None])[0, -2:]
        np.testing.assert_allclose([step[row] for step in found], expected, **FLOAT64_SUMS)


@given(configs(context=ROOM), ADAPTERS, SEEDS)
def test_padding_changes_nothing(config: GPTConfig, adapter: Any, seed: int) -> None:
    rng, model = np.random.default_rng(seed), adapted_gpt(config, adapter, seed)
    ids, mask = token_ids(rng, 2, T), rng.random((2, T)) < 0.7
    for cache in (None, KVCache(config)):
        found = logits_of(model, ids, mask=mask, cache=cache)
        for row in range(2):
            if mask[row].any():
                alone = logits_of(model, ids[row : row + 1, mask[row]])[0]
                np.testing.assert_allclose(found[row, mask[row]], alone, **FLOAT64_SUMS)


@given(configs(context=ROOM), ADAPTERS, SEEDS)
def test_positions_of_the_caller_are_those_of_the_text(config: GPTConfig, adapter: Any, seed: int) -> None:
    model, ids = adapted_gpt(config, adapter, seed), token_ids(np.random.default_rng(seed), 2, T)
    found = logits_of(model, ids, positions=np.arange(T))
    np.testing.assert_allclose(found, logits_of(model, ids), **FLOAT64_SUMS)


@pytest.mark.parametrize("add", [add_prefix, add_prompt])
def test_packed_documents_with_virtual_tokens_are_refused(add: Any) -> None:
    add(model := random_gpt(SMALL, 0), tokens=2)
    with pytest.raises(ValueError, match="cannot be packed"):
        model(np.zeros((1, 4), int), documents=np.array([[0, 0, 1, 1]]))


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_prompt_begins_as_the_vectors_of_tokens_that_the_first_block_gets(scale: float) -> None:
    models: list[Any] = [random_gpt(replace(SMALL, embedding_scale=scale), 0) for _ in range(2)]
    vectors = models[0].embedding.weight.data * scale  # (V, C)
    add_prompt(models[0], tokens=3)
    add_adapter(models[1], TuningOptions(prompt_tokens=3), seed=0)
    for model in models:
        for row in model.embedding.prompt.data:
            assert (row == vectors).all(axis=1).any()


def test_virtual_tokens_take_room_from_the_context() -> None:
    for add in (add_prefix, add_prompt):
        add(model := random_gpt(replace(SMALL, positions="learned", context=8), 0), tokens=3)
        assert model.context == 5
        logits_of(model, np.zeros((1, 5), int))
        with pytest.raises(ValueError, match="learned 8 positions"):
            model(np.zeros((1, 6), int))
        with pytest.raises(ValueError, match="cannot have 8 virtual tokens"):
            add(random_gpt(replace(SMALL, context=8), 0), tokens=8)


# --- training ---------------------------------------------------------------------------------------------------------


@given(configs(context=ROOM), ADAPTERS, SEEDS)
def test_gradients_are_finite_differences_and_only_those_of_the_adapter(
    config: GPTConfig, adapter: Any, seed: int
) -> None:
    model = adapted_gpt(without_jumps(config), adapter, seed)
    rng, h = np.random.default_rng(seed), 1e-5
    ids = token_ids(rng, 2, T + 1)
    is_dora = adapter[1].get("dora", False)

    def loss() -> float:
        with no_grad():
            return model.loss(ids[:, :-1], ids[:, 1:]).item()

    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None) == p.requires_grad, name
        if p.grad is None or (is_dora and "magnitude" not in name):  # the norms of DoRA count as constants
            continue
        direction = rng.normal(size=p.shape)
        values = p.data.copy()
        p.data[...] = values + h * direction
        above = loss()
        p.data[...] = values - h * direction
        below = loss()
        p.data[...] = values
        expected = (above - below) / (2 * h)
        # Central differences are off by h² times a third derivative, and by 1e-16 of the loss divided by h.
        assert (p.grad.data * direction).sum() == pytest.approx(expected, rel=1e-4, abs=1e-6), name


@given(configs(context=ROOM), ADAPTERS, SEEDS)
def test_recomputing_blocks_changes_no_gradient(config: GPTConfig, adapter: Any, seed: int) -> None:
    model, ids = adapted_gpt(config, adapter, seed), token_ids(np.random.default_rng(seed), 2, T)
    found = []
    for recompute in (False, True):
        model.recompute = recompute
        model.zero_grad()
        model.loss(ids, ids).backward()
        found.append({name: p.grad.data for name, p in model.named_trainable() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        np.testing.assert_allclose(found[1][name], gradient, **FLOAT64_SUMS, err_msg=name)


def test_recomputing_gated_and_plain_mlps_changes_no_gradient() -> None:
    for mlp in ("gelu", "swiglu"):
        model = adapted_gpt(replace(SMALL, mlp=mlp), (add_lora, {"targets": "all-linear", "dropout": 0.3}), 0).train()
        ids, found = token_ids(np.random.default_rng(0), 2, T), []
        for recompute in (False, True):
            model.recompute = recompute
            model.zero_grad()
            seed(5)
            model.loss(ids, ids).backward()
            found.append([p.grad.data for _, p in model.named_trainable()])
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(other, one, **FLOAT64_SUMS)


@KINDS
@pytest.mark.parametrize("add", [add_lora, add_prefix, add_prompt])
def test_workers_compute_the_gradient_of_one(kind: type[Workers], add: Any) -> None:
    rng = np.random.default_rng(0)
    batch = token_ids(rng, 5, T), token_ids(rng, 5, T)
    found = []
    for workers, made in ((1, Threads), (2, kind)):
        model = (
            adapt(random_gpt(SMALL, 0), (add, {}), 1)
            if add is add_lora
            else adapt(random_gpt(SMALL, 0), (add, {"tokens": 3}), 1)
        )
        optimizer = AdamW(model.named_trainable(), lr=0.1)
        with workers_of(model, workers, made) as group:
            optimizer.zero_grad()
            loss = group.accumulate(batch, micro_batches=2)
            found.append((loss, {name: p.grad.data.copy() for name, p in model.named_trainable()}))
            assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    for name, gradient in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], gradient, **FLOAT64_SUMS, err_msg=name)


def test_an_optimizer_keeps_something_for_adapters_only() -> None:
    model = random_gpt(SMALL, 0)
    add_lora(model, targets=["qkv"])
    state = AdamW(model.named_parameters(), lr=0.1).state_dict()
    names = {name for name, _ in model.named_trainable()}
    assert names and all("updates" in name for name in names)
    assert {name.split(".", 1)[1] for name in state if name != "lr"} == names


@pytest.mark.parametrize("targets", ["all-linear", ["head"]])
@pytest.mark.parametrize("dora", [False, True])
def test_dropout_is_for_the_branch_only_and_for_training_only(dora: bool, targets: Any) -> None:
    model = adapt(random_gpt(SMALL, 0).eval(), (add_lora, {"dropout": 0.5, "targets": targets, "dora": dora}), 0)
    ids = token_ids(np.random.default_rng(0), 2, T)
    before = logits_of(model, ids)
    np.testing.assert_array_equal(logits_of(model, ids), before)
    model.train()
    assert np.abs(logits_of(model, ids) - logits_of(model, ids)).max() > 1e-3
    base = random_gpt(SMALL, 0).train()
    with adapter_off(model):
        np.testing.assert_array_equal(logits_of(model, ids), logits_of(base, ids))


# --- several at once --------------------------------------------------------------------------------------------------


@given(configs(context=ROOM), ADAPTERS, ADAPTERS, SEEDS)
def test_two_adapters_share_the_weights_of_one_base(config: GPTConfig, one: Any, two: Any, seed: int) -> None:
    base, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, T)
    first, second = (adapt(sharing_weights(base), adapter, seed + n) for n, adapter in enumerate((one, two)))
    assert first.embedding.weight is base.embedding.weight
    expected = [logits_of(adapted_gpt(config, one, seed), ids), logits_of(random_gpt(config, seed), ids)]
    for found, same in zip((logits_of(first, ids), logits_of(base, ids)), expected):
        np.testing.assert_array_equal(found, same)
    assert second.embedding.weight is first.embedding.weight


def test_switching_off_in_one_thread_leaves_the_others_alone() -> None:
    model, ids = adapted_gpt(SMALL, (add_lora, {}), 0), token_ids(np.random.default_rng(0), 1, T)
    expected, found = logits_of(model, ids), []
    with adapter_off(model):
        thread = threading.Thread(target=lambda: found.append(logits_of(model, ids)))
        thread.start()
        thread.join()
        assert np.abs(logits_of(model, ids) - expected).max() > 1e-6
    np.testing.assert_array_equal(found[0], expected)


def test_the_adapter_inside_a_classifier_can_be_switched_off_too() -> None:
    ids = token_ids(np.random.default_rng(0), 2, T)
    with no_grad():
        expected = Classifier(random_gpt(SMALL, 0), 3)(ids).data
        adapted = Classifier(adapted_gpt(SMALL, (add_lora, {}), 0), 3)
        assert np.abs(adapted(ids).data - expected).max() > 1e-6
        with adapter_off(adapted):
            np.testing.assert_array_equal(adapted(ids).data, expected)


def test_a_copy_of_a_model_has_an_adapter_of_its_own() -> None:
    model, ids = adapted_gpt(SMALL, (add_lora, {}), 0), token_ids(np.random.default_rng(0), 1, T)
    twin, before = copy.deepcopy(model), logits_of(model, ids)
    with adapter_off(twin):
        np.testing.assert_array_equal(logits_of(model, ids), before)
        assert np.abs(logits_of(twin, ids) - before).max() > 1e-6
    np.testing.assert_array_equal(logits_of(twin, ids), before)


def test_a_second_adapter_on_one_model_is_refused() -> None:
    add_lora(model := random_gpt(SMALL, 0))
    with pytest.raises(ValueError, match="has an adapter already"):
        add_prefix(model, tokens=2)


@pytest.mark.control
def test_an_adapter_that_is_not_scaled_is_noticed() -> None:
    model, ids = adapted_gpt(SMALL, (add_lora, {"targets": ["qkv"]}), 0), token_ids(np.random.default_rng(0), 2, T)
    before = logits_of(model, ids)
    for update in model.blocks[0].attention.qkv.updates:
        update.scale *= 1.01
    assert np.abs(logits_of(model, ids) - before).max() > 1e-6
