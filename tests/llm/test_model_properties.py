"""What a language model must satisfy whatever its configuration is, in float64 on drawn configurations."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llm.model.attention
from llm.model.config import Activation, GPTConfig, Norm, NormPosition, Positions
from llm.model.gpt import GPT
from llm.model.masks import LayerSettings
from minigrad import Tensor, no_grad
from minigrad.optim import AdamW
from minigrad.random import seed as seed_dropout
from tests.llm.gpts import CONTEXT, FLOAT64_SUMS, SEEDS, VOCAB, configs, random_gpt, token_ids

LENGTHS = st.integers(1, 12)


def logits(model: GPT, ids: np.ndarray, **options: Any) -> np.ndarray:
    with no_grad():
        return model(ids, **options).data


def earlier_logits_change(model: GPT, rng: np.random.Generator, length: int) -> bool:
    """Whether a change to a token changes logits before it."""
    ids, at = token_ids(rng, 2, length), int(rng.integers(0, length))
    changed = ids.copy()
    changed[:, at] = (ids[:, at] + 1) % VOCAB
    before, after = logits(model, ids), logits(model, changed)
    assert not np.allclose(before[:, at], after[:, at], **FLOAT64_SUMS)  # the change itself is seen
    return not np.allclose(before[:, :at], after[:, :at], **FLOAT64_SUMS)


@given(configs(), SEEDS, LENGTHS)
def test_a_token_changes_no_earlier_logits(config: GPTConfig, seed: int, length: int) -> None:
    assert not earlier_logits_change(random_gpt(config, seed), np.random.default_rng(seed), length)


@pytest.mark.control
def test_attention_without_a_causal_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm.model.attention, "attention", partial(llm.model.attention.attention, causal=False))
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=8, layers=1, heads=2, dim=8), 0)
    assert any(earlier_logits_change(model, np.random.default_rng(seed), 8) for seed in range(5))


@given(configs(), SEEDS, LENGTHS)
def test_rows_of_a_batch_are_independent(config: GPTConfig, seed: int, length: int) -> None:
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 3, length)
    together = logits(model, ids)
    for row in range(3):
        np.testing.assert_allclose(logits(model, ids[row : row + 1])[0], together[row], **FLOAT64_SUMS)


@given(configs(), SEEDS, LENGTHS, st.data())
def test_padding_anywhere_changes_nothing(config: GPTConfig, seed: int, length: int, data: st.DataObject) -> None:
    mask = np.array([data.draw(st.permutations([True] * length + [False] * 4)) for _ in range(2)])
    model, rng = random_gpt(config, seed), np.random.default_rng(seed)
    ids, padded = token_ids(rng, 2, length), token_ids(rng, *mask.shape)
    targets, padded_targets = token_ids(rng, 2, length), token_ids(rng, *mask.shape)
    padded[mask], padded_targets[mask] = ids.reshape(-1), targets.reshape(-1)
    np.testing.assert_allclose(
        logits(model, padded, mask=mask)[mask], logits(model, ids).reshape(-1, VOCAB), **FLOAT64_SUMS
    )
    assert_same_loss_and_gradients(model, (padded, padded_targets, {"mask": mask}), (ids, targets, {}))


@given(configs(), SEEDS, st.lists(st.integers(1, 6), min_size=2, max_size=4))
def test_packing_documents_changes_nothing(config: GPTConfig, seed: int, lengths: list[int]) -> None:
    model, rng = random_gpt(config, seed), np.random.default_rng(seed)
    texts = [token_ids(rng, 1, n) for n in lengths]
    numbers = np.repeat(rng.permutation(len(lengths)), lengths)[None]
    alone = [logits(model, text) for text in texts]
    packed = np.concatenate(texts, axis=1)
    np.testing.assert_allclose(logits(model, packed, documents=numbers), np.concatenate(alone, axis=1), **FLOAT64_SUMS)

    with_padding = np.append(packed, [[0, 0]], axis=1)
    mask = np.append(np.ones_like(packed), [[0, 0]], axis=1).astype(bool)
    padded = logits(model, with_padding, documents=np.append(numbers, [[-1, -1]], axis=1), mask=mask)
    np.testing.assert_allclose(padded[:, :-2], np.concatenate(alone, axis=1), **FLOAT64_SUMS)


@pytest.mark.control
def test_attention_across_documents_is_noticed() -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=8, layers=1, heads=2, dim=8), 0)
    ids = np.array([[1, 2, 3, 4, 5, 6]])
    alone = logits(model, ids[:, 3:])
    assert not np.allclose(logits(model, ids)[:, 3:], alone, **FLOAT64_SUMS)
    assert not np.allclose(logits(model, ids, positions=np.array([0, 1, 2, 0, 1, 2]))[:, 3:], alone, **FLOAT64_SUMS)


def assert_same_loss_and_gradients(model: GPT, one: tuple, other: tuple) -> None:
    found = []
    for ids, targets, options in (one, other):
        model.zero_grad()
        loss = model.loss(ids, targets, reduction="sum", **options)
        loss.backward()
        found.append((loss.item(), {name: p.grad.data for name, p in model.named_parameters()}))
    np.testing.assert_allclose(found[0][0], found[1][0], **FLOAT64_SUMS)
    for name, g in found[0][1].items():
        np.testing.assert_allclose(g, found[1][1][name], err_msg=name, **FLOAT64_SUMS)


@given(configs(), SEEDS, st.integers(1, 50))
def test_shifting_all_positions_changes_nothing_if_positions_are_relative(
    config: GPTConfig, seed: int, shift: int
) -> None:
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, 6)
    if config.positions == "learned":
        shift = min(shift, CONTEXT - 6)
    shifted = logits(model, ids, positions=np.arange(6) + shift)
    if config.positions in ("learned", "sinusoidal"):  # absolute positions
        assert not np.allclose(shifted, logits(model, ids), **FLOAT64_SUMS)
    else:
        np.testing.assert_allclose(shifted, logits(model, ids), **FLOAT64_SUMS)


@given(configs(positions="rope"), SEEDS)
def test_other_distances_change_the_logits_with_rope(config: GPTConfig, seed: int) -> None:
    config = replace(config, window=None, rope_layers=None)  # rope in all layers
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 1, 6)
    ids[0, 0] = (ids[0, 1] + 1) % VOCAB  # attention among equal tokens has nothing to choose
    assert not np.allclose(logits(model, ids, positions=np.arange(6) * 2), logits(model, ids), **FLOAT64_SUMS)


@given(configs(), SEEDS)
def test_grouped_queries_equal_heads_that_share_keys_and_values(config: GPTConfig, seed: int) -> None:
    grouped = random_gpt(config, seed)
    full = GPT(replace(config, kv_heads=None), rng=None, dtype=np.float64).eval()
    H, K, D = config.heads, config.key_heads, config.head_size
    heads = np.concatenate([np.arange(H), H + np.repeat(np.arange(K), H // K), H + K + np.repeat(np.arange(K), H // K)])
    state = grouped.state_dict()
    for name, a in state.items():
        if config.qk_norm_all and "key_norm" in name:
            state[name] = a.reshape(K, D)[np.repeat(np.arange(K), H // K)].reshape(-1)
        if ".qkv." in name:
            state[name] = a.reshape(H + 2 * K, D, *a.shape[1:])[heads].reshape(-1, *a.shape[1:])
    full.load_state_dict(state)
    ids = token_ids(np.random.default_rng(seed), 2, 7)
    np.testing.assert_allclose(logits(grouped, ids), logits(full, ids), **FLOAT64_SUMS)


@given(configs(tied_head=True), SEEDS)
def test_tied_head_gets_both_gradients(config: GPTConfig, seed: int) -> None:
    tied, untied = random_gpt(config, seed), GPT(replace(config, tied_head=False), rng=None, dtype=np.float64).eval()
    untied.load_state_dict(tied.state_dict() | {"head.weight": tied.embedding.weight.data})
    ids, targets = token_ids(np.random.default_rng(seed), 2, 2, 5)
    for model in (tied, untied):
        model.loss(ids, targets).backward()
    both = untied.embedding.weight.grad.data + untied.head.weight.grad.data
    np.testing.assert_allclose(tied.embedding.weight.grad.data, both, **FLOAT64_SUMS)
    assert "head.weight" not in tied.state_dict()


@given(configs(dropout=0.4), SEEDS)
def test_dropout_is_off_in_evaluation_and_repeatable_in_training(config: GPTConfig, seed: int) -> None:
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, 8)
    plain = random_gpt(replace(config, dropout=0.0), seed)
    np.testing.assert_array_equal(logits(model, ids), logits(plain, ids))
    model.train()
    runs = []
    for key in (seed, seed, seed + 1):
        seed_dropout(key)
        runs.append(logits(model, ids))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])


@given(st.sampled_from(["pre", "post"]), SEEDS)
def test_dropout_keeps_the_mean(norm_position: str, seed: int) -> None:
    """Embeddings, and attention with dropout on its weights, are linear in what is dropped: 4000 masks average to no
    dropout.
    """
    config = GPTConfig(vocab_size=VOCAB, context=4, layers=1, heads=2, dim=8, dropout=0.3, norm_position=norm_position)
    model, x = random_gpt(config, seed), np.random.default_rng(seed).standard_normal((1, 4, 8))
    copies = np.repeat(x, 4000, axis=0)
    seed_dropout(seed)
    for layer in (model.dropout, partial(model.blocks[0].attention, settings=LayerSettings())):
        expected = layer(Tensor(x)).data
        model.train()
        found = layer(Tensor(copies)).data
        model.eval()
        spread = found.std(axis=0) / math.sqrt(len(copies))
        assert spread.max() > 0
        assert (abs(found.mean(axis=0) - expected[0]) < 6 * spread + 1e-12).all()  # 6 sigma: one chance in 10^7 a draw


@given(configs(), SEEDS)
def test_initial_loss_is_near_log_v(config: GPTConfig, seed: int) -> None:
    config = replace(config, vocab_size=500)
    ids, targets = np.random.default_rng(seed).integers(0, 500, (2, 4, 16))
    loss = GPT(config, rng=seed).loss(ids, targets, with_balance=False).item()
    assert abs(loss - math.log(500)) < 0.2  # the logits begin with a spread of 0.02 sqrt(C), at most 0.1


@pytest.mark.control
def test_large_initial_weights_are_noticed() -> None:
    config = GPTConfig(vocab_size=500, context=16, layers=1, heads=2, dim=24)
    ids, targets = np.random.default_rng(0).integers(0, 500, (2, 4, 16))
    assert abs(random_gpt(config, 0).loss(ids, targets).item() - math.log(500)) > 0.2


def test_the_same_seed_gives_the_same_weights_in_every_dtype() -> None:
    config = GPTConfig(vocab_size=VOCAB, context=8, layers=2, heads=2, dim=8, tied_head=False)
    single, double, other = GPT(config, rng=7), GPT(config, rng=7, dtype=np.float64), GPT(config, rng=8)
    for name, a in single.state_dict().items():
        np.testing.assert_array_equal(a, double.state_dict()[name], err_msg=name)
    assert not np.array_equal(single.embedding.weight.data, other.embedding.weight.data)
    assert double(np.zeros((1, 3), dtype=int)).dtype == np.float64
    assert not any(a.any() for a in GPT(config, rng=None).state_dict().values() if a.ndim == 2)


def test_weights_are_drawn_from_one_generator_in_the_order_of_their_names() -> None:
    model, rng = GPT(STYLES["GPT-2"], rng=7), np.random.default_rng(7)
    for name, p in model.named_parameters():
        if p.ndim == 2:
            std = (
                0.01 if name.endswith(("attention.out.weight", "mlp.down.weight")) else 0.02
            )  # 0.02 / sqrt(2 x 2 layers)
            expected = rng.standard_normal(p.shape, dtype=np.float32) * np.float32(std)
        else:
            expected = np.full(p.shape, "norm" in name and name.endswith("weight"), np.float32)
        np.testing.assert_array_equal(p.data, expected, err_msg=name)


SIZES: dict[str, Any] = {"vocab_size": VOCAB, "context": 8, "layers": 2, "heads": 2, "dim": 16}
# fmt: off
STYLES = {
    "GPT-2": GPTConfig(**SIZES),
    "Llama": GPTConfig(**SIZES, kv_heads=1, positions="rope", norm="rmsnorm", mlp="swiglu", bias=False, qk_norm=True,
                       tied_head=False),
    "post-norm": GPTConfig(**SIZES, positions="sinusoidal", norm_position="post"),
}
# fmt: on


@pytest.mark.parametrize("style", STYLES)
def test_a_tiny_model_overfits_one_batch(style: str) -> None:
    model, rng = GPT(STYLES[style], rng=1), np.random.default_rng(1)
    ids = rng.integers(0, VOCAB, (4, 9))
    optimizer = AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(120):
        model.zero_grad()
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        optimizer.step()
    # Rows that begin with the same tokens cannot be told apart there. Only the entropy of these choices may remain.
    first = [np.count_nonzero((ids[:, : t + 1] == row[: t + 1]).all(axis=1)) for row in ids for t in range(8)]
    assert loss.item() < np.log(first).mean() + 0.05


def test_every_combination_of_choices_trains() -> None:
    """All positions x norms x positions of norms x activations; the other fields are random."""
    rng = np.random.default_rng(0)
    sizes: dict[str, Any] = {
        "vocab_size": VOCAB,
        "context": 8,
        "layers": 2,
        "heads": 4,
        "dim": 12,
        "mlp_dim": 7,
        "head_dim": 4,
    }
    names = ("positions", "norm", "norm_position", "mlp")
    for values in product(get_args(Positions), get_args(Norm), get_args(NormPosition), get_args(Activation)):
        bias, qk_norm, tied_head, interleaved, windowed, capped, dropped = rng.integers(0, 2, 7).astype(bool).tolist()
        config = GPTConfig(
            **sizes,
            **dict(zip(names, values)),
            kv_heads=int(rng.choice([1, 2, 4])),
            bias=bias,
            qk_norm=qk_norm,
            tied_head=tied_head,
            rope_interleaved=interleaved,
            window=3 if windowed else None,
            soft_cap=5.0 if capped else None,
            dropout=0.1 if dropped else 0.0,
        )
        model, (ids, targets) = GPT(config, rng=rng), token_ids(rng, 2, 2, 8)
        loss = model.loss(ids, targets)
        loss.backward()
        assert np.isfinite(loss.data), config
        for name, p in model.named_parameters():
            assert p.grad is not None, (name, config)
            assert p.grad.shape == p.shape, (name, config)
            assert np.isfinite(p.grad.data).all(), (name, config)
            assert p.grad.data.any(), (name, config)


@given(configs(dropout=0.2), SEEDS)
def test_recomputed_blocks_give_the_same_bits(config: GPTConfig, seed: int) -> None:
    model, (ids, targets) = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, 2, 6)
    model.train()
    found = []
    for model.recompute in (False, True):
        model.zero_grad()
        seed_dropout(seed)
        loss = model.loss(ids, targets)
        loss.backward()
        found.append([loss.data, *(p.grad.data.copy() for p in model.parameters())])
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)


@given(configs(), SEEDS)
def test_options_for_all_rows_may_be_given_once(config: GPTConfig, seed: int) -> None:
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, 5)
    once = {
        "mask": np.array([True, False, True, True, True]),
        "documents": np.array([0, 0, 1, 1, 1]),
        "positions": np.arange(5) * 2,
    }
    twice = {name: np.stack([a, a]) for name, a in once.items()}
    np.testing.assert_array_equal(logits(model, ids, **once), logits(model, ids, **twice))
    assert model.loss(ids, ids, **once).item() == model.loss(ids, ids, **twice).item()
