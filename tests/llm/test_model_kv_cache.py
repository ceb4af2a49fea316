"""The key-value cache: the same logits, however a text is split into calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.cost import cache_bytes
from llm.model.gpt import GPT
from llm.model.kv_cache import INITIAL_CAPACITY, KVCache
from minigrad import no_grad
from tests.llm.gpts import CONTEXT, FLOAT64_SUMS, SEEDS, VOCAB, configs, random_gpt, token_ids, without_jumps

SPLITS = st.lists(st.integers(1, 7), min_size=1, max_size=4)


def logits_in_chunks(
    model: GPT, cache: KVCache, ids: np.ndarray, sizes: list[int], mask: np.ndarray | None = None
) -> np.ndarray:
    """The logits of `ids`, read with the cache in chunks of these sizes."""
    ends = np.cumsum(sizes)
    with no_grad():
        chunks = [
            model(ids[:, end - n : end], mask=None if mask is None else mask[:, end - n : end], cache=cache).data
            for n, end in zip(sizes, ends)
        ]
    return np.concatenate(chunks, axis=1)


@given(configs(), SEEDS, SPLITS)
def test_cached_equals_uncached(config: GPTConfig, seed: int, sizes: list[int]) -> None:
    config = replace(config, context=max(CONTEXT, sum(sizes)))
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, sum(sizes))
    np.testing.assert_allclose(logits_in_chunks(model, KVCache(config), ids, sizes), model(ids).data, **FLOAT64_SUMS)


@given(configs(), SEEDS, st.lists(st.integers(0, 2), min_size=1, max_size=5), st.booleans())
def test_selected_rows_go_on_as_copies(config: GPTConfig, seed: int, rows: list[int], with_mask: bool) -> None:
    """Rows that are dropped, repeated and in another order; with positions that are the same for all rows or not."""
    rng = np.random.default_rng(seed)
    model, cache, ids = random_gpt(config, seed), KVCache(config), token_ids(rng, 3, 9)
    mask = rng.random((3, 9)) < 0.7 if with_mask else None
    new, before = token_ids(rng, len(rows), 4), [3, 6]
    logits_in_chunks(model, cache, ids, before, mask)
    cache.select(rows)
    both = np.concatenate([ids[rows], new], axis=1)
    mask = None if mask is None else np.concatenate([mask[rows], np.ones((len(rows), 4), bool)], axis=1)
    with no_grad():
        continued = model(new, mask=None if mask is None else mask[:, 9:], cache=cache).data
        expected = model(both, mask=mask).data[:, 9:]
    np.testing.assert_allclose(continued, expected, **FLOAT64_SUMS)


@given(configs(layers=2), SEEDS)
def test_cached_logits_are_within_1e5_in_float32(config: GPTConfig, seed: int) -> None:
    """A model as initialised, and a text longer than the initial capacity, token by token after the prompt."""
    config = replace(without_jumps(config), context=INITIAL_CAPACITY * 2, vocab_size=100)
    model, ids = GPT(config, rng=seed).eval(), np.random.default_rng(seed).integers(0, 100, (2, INITIAL_CAPACITY + 10))
    cached = logits_in_chunks(model, KVCache(config), ids, [INITIAL_CAPACITY - 5] + [1] * 15)
    np.testing.assert_allclose(cached, model(ids).data, rtol=0, atol=1e-5)


@given(configs(), SEEDS, SPLITS, st.data())
def test_padding_in_a_cache_changes_no_logits(
    config: GPTConfig, seed: int, sizes: list[int], data: st.DataObject
) -> None:
    """Padding may be anywhere: the real tokens of each row get the logits they get alone, without a cache."""
    total = sum(sizes)
    config = replace(config, context=max(CONTEXT, total))
    mask = np.array([data.draw(st.lists(st.booleans(), min_size=total, max_size=total)) for _ in range(2)])
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, total)
    found = logits_in_chunks(model, KVCache(config), ids, sizes, mask)
    for row in range(2):
        if mask[row].any():
            np.testing.assert_allclose(found[row][mask[row]], model(ids[row][mask[row]][None]).data[0], **FLOAT64_SUMS)


@given(configs(), SEEDS, st.booleans())
def test_calls_with_and_without_a_mask_can_be_mixed(config: GPTConfig, seed: int, mask_first: bool) -> None:
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, 9)
    cache, all_real = KVCache(config), np.ones((2, 5), dtype=bool)
    with no_grad():
        first = model(ids[:, :5], mask=all_real if mask_first else None, cache=cache).data
        second = model(ids[:, 5:], mask=None if mask_first else all_real[:, :4], cache=cache).data
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), model(ids).data, **FLOAT64_SUMS)


@given(configs(), SEEDS, st.integers(0, 6), st.booleans())
def test_after_truncate_the_text_can_be_continued_differently(
    config: GPTConfig, seed: int, length: int, masked: bool
) -> None:
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, 9)
    mask = np.ones((2, 9), dtype=bool) if masked else None
    cache = KVCache(config)
    logits_in_chunks(
        model, cache, np.concatenate([ids[:, :length], (ids[:, length:] + 1) % VOCAB], axis=1), [6, 3], mask
    )
    cache.truncate(length)
    rest = None if mask is None else mask[:, length:]
    np.testing.assert_allclose(
        logits_in_chunks(model, cache, ids[:, length:], [9 - length], rest), model(ids).data[:, length:], **FLOAT64_SUMS
    )


def test_after_reset_the_batch_size_can_be_another() -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=16, layers=1, heads=2, dim=8), 0)
    cache, ids = KVCache(model.config), token_ids(np.random.default_rng(0), 3, 4)
    logits_in_chunks(model, cache, ids[:1], [4])
    with pytest.raises(ValueError, match=r"holds 1 rows and this call has 3; call reset\(\)"):
        logits_in_chunks(model, cache, ids, [4])
    cache.reset()
    assert cache.nbytes == 0
    np.testing.assert_allclose(logits_in_chunks(model, cache, ids, [4]), model(ids).data, **FLOAT64_SUMS)


def test_a_call_that_fails_leaves_the_cache_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=16, layers=2, heads=2, dim=8), 0)
    cache, ids = KVCache(model.config), token_ids(np.random.default_rng(0), 1, 6)
    logits_in_chunks(model, cache, ids[:, :3], [3])
    with monkeypatch.context() as patch:
        patch.setattr(model.blocks[1], "forward", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            logits_in_chunks(model, cache, (ids[:, 3:] + 1) % VOCAB, [3])
    assert cache.length == 3
    np.testing.assert_allclose(logits_in_chunks(model, cache, ids[:, 3:], [3]), model(ids).data[:, 3:], **FLOAT64_SUMS)


def test_capacity_doubles_up_to_the_context_and_beyond() -> None:
    config = GPTConfig(layers=1, heads=1, dim=2, context=200, positions="none")
    cache, token, capacities = KVCache(config), np.zeros((1, 1, 1, 2), np.float32), []
    for length in range(600):
        k, _ = cache.append(0, token, token)
        cache.advance(slice(0, length + 1))
        if not capacities or capacities[-1] != cache.nbytes // 16:
            capacities.append(cache.nbytes // 16)  # 2 arrays x 2 numbers x 4 bytes a token
        assert k.shape == (1, 1, length + 1, 2)
    assert capacities == [64, 128, 200, 256, 512, 1024]


@given(configs(), st.integers(1, 3))
def test_cache_bytes_is_the_size_of_the_cache(config: GPTConfig, batch_size: int) -> None:
    cache, model = KVCache(config), GPT(config)
    logits_in_chunks(model, cache, np.zeros((batch_size, CONTEXT), dtype=int), [CONTEXT])
    assert cache.nbytes == cache_bytes(config, batch_size=batch_size) == CONTEXT * cache_bytes(config, 1, batch_size)


def assert_refused(error: type[Exception], words: str, model: GPT, **options: Any) -> None:
    with pytest.raises(error, match=words):
        model(np.zeros((1, 3), dtype=int), **options)


def test_what_a_cache_cannot_do_is_met_by_a_sentence() -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=4, layers=1, heads=2, dim=8), 0)
    cache = KVCache(model.config)
    assert_refused(RuntimeError, r"inside `with no_grad\(\):`", model, cache=cache)
    with no_grad():
        documents = np.zeros((1, 3), dtype=int)
        assert_refused(ValueError, "packed documents cannot go into", model, cache=cache, documents=documents)
        model(np.zeros((1, 3), dtype=int), cache=cache)
        assert_refused(ValueError, "has 6 tokens and the model has learned 4 positions", model, cache=cache)
    with pytest.raises(ValueError, match="holds 3 tokens and cannot be truncated to 5"):
        cache.truncate(5)


@pytest.mark.control
def test_a_lost_key_is_noticed() -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=16, layers=1, heads=2, dim=8), 0)
    ids, cache = token_ids(np.random.default_rng(0), 1, 8), KVCache(model.config)
    logits_in_chunks(model, cache, ids[:, :4], [4])
    cache._keys[0][:, :, 1] = 0
    assert not np.allclose(logits_in_chunks(model, cache, ids[:, 4:], [4]), model(ids).data[:, 4:], **FLOAT64_SUMS)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rope", "alibi", "none"])
def test_the_first_call_may_be_empty_or_have_only_padding(positions: Any) -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=16, layers=1, heads=2, dim=8, positions=positions), 0)
    ids, cache = token_ids(np.random.default_rng(0), 2, 6), KVCache(model.config)
    mask = np.array([[False] * 2 + [True] * 4] * 2)
    found = logits_in_chunks(model, cache, ids, [0, 2, 4], mask)
    np.testing.assert_allclose(found[:, 2:], model(ids[:, 2:]).data, **FLOAT64_SUMS)
