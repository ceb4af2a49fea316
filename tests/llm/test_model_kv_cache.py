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
from tests.llm.gpts import CONTEXT, SEEDS, VOCAB, configs, random_gpt, token_ids

SPLITS = st.lists(st.integers(1, 7), min_size=1, max_size=4)
TIGHT = {"rtol": 1e-10, "atol": 1e-10}  # float64; the order of sums differs


def in_pieces(
    model: GPT, cache: KVCache, ids: np.ndarray, sizes: list[int], mask: np.ndarray | None = None
) -> np.ndarray:
    """The logits of `ids`, fed to the cache in pieces."""
    ends = np.cumsum(sizes)
    with no_grad():
        pieces = [
            model(ids[:, end - n : end], mask=None if mask is None else mask[:, end - n : end], cache=cache).data
            for n, end in zip(sizes, ends)
        ]
    return np.concatenate(pieces, axis=1)


@given(configs(), SEEDS, SPLITS)
def test_cached_equals_uncached(config: GPTConfig, seed: int, sizes: list[int]) -> None:
    config = replace(config, context=max(CONTEXT, sum(sizes)))
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, sum(sizes))
    np.testing.assert_allclose(in_pieces(model, KVCache(config), ids, sizes), model(ids).data, **TIGHT)


@given(configs(layers=2), SEEDS)
def test_in_float32_cached_logits_are_within_1e5(config: GPTConfig, seed: int) -> None:
    """A plain model of a useful size, a text longer than the cache's first room, token by token after the prompt."""
    config = replace(config, context=INITIAL_CAPACITY * 2, vocab_size=100)
    model, ids = GPT(config, rng=seed).eval(), np.random.default_rng(seed).integers(0, 100, (2, INITIAL_CAPACITY + 10))
    cached = in_pieces(model, KVCache(config), ids, [INITIAL_CAPACITY - 5] + [1] * 15)
    np.testing.assert_allclose(cached, model(ids).data, rtol=0, atol=1e-5)


@given(configs(), SEEDS, SPLITS, st.data())
def test_rows_of_different_lengths(config: GPTConfig, seed: int, sizes: list[int], data: st.DataObject) -> None:
    """Padding anywhere, in the prompt or later: each row's real tokens get the logits they get alone and uncached."""
    total = sum(sizes)
    config = replace(config, context=max(CONTEXT, total))
    mask = np.array([data.draw(st.lists(st.booleans(), min_size=total, max_size=total)) for _ in range(2)])
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, total)
    found = in_pieces(model, KVCache(config), ids, sizes, mask)
    for row in range(2):
        if mask[row].any():
            np.testing.assert_allclose(found[row][mask[row]], model(ids[row][mask[row]][None]).data[0], **TIGHT)


@given(configs(), SEEDS, st.booleans())
def test_a_mask_may_begin_or_end_later(config: GPTConfig, seed: int, mask_first: bool) -> None:
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, 9)
    cache, all_real = KVCache(config), np.ones((2, 5), dtype=bool)
    with no_grad():
        first = model(ids[:, :5], mask=all_real if mask_first else None, cache=cache).data
        second = model(ids[:, 5:], mask=None if mask_first else all_real[:, :4], cache=cache).data
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), model(ids).data, **TIGHT)


@given(configs(), SEEDS, st.integers(0, 6), st.booleans())
def test_truncate_goes_back(config: GPTConfig, seed: int, length: int, masked: bool) -> None:
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), 2, 9)
    mask = np.ones((2, 9), dtype=bool) if masked else None
    cache = KVCache(config)
    in_pieces(model, cache, np.concatenate([ids[:, :length], (ids[:, length:] + 1) % VOCAB], axis=1), [6, 3], mask)
    cache.truncate(length)
    rest = None if mask is None else mask[:, length:]
    np.testing.assert_allclose(
        in_pieces(model, cache, ids[:, length:], [9 - length], rest), model(ids).data[:, length:], **TIGHT
    )


def test_reset_takes_another_batch() -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=16, layers=1, heads=2, dim=8), 0)
    cache, ids = KVCache(model.config), token_ids(np.random.default_rng(0), 3, 4)
    in_pieces(model, cache, ids[:1], [4])
    with pytest.raises(ValueError, match=r"holds 1 rows and this call has 3; call reset\(\)"):
        in_pieces(model, cache, ids, [4])
    cache.reset()
    assert cache.nbytes == 0
    np.testing.assert_allclose(in_pieces(model, cache, ids, [4]), model(ids).data, **TIGHT)


def test_a_broken_call_leaves_the_cache_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=16, layers=2, heads=2, dim=8), 0)
    cache, ids = KVCache(model.config), token_ids(np.random.default_rng(0), 1, 6)
    in_pieces(model, cache, ids[:, :3], [3])
    with monkeypatch.context() as patch:
        patch.setattr(model.blocks[1], "forward", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            in_pieces(model, cache, (ids[:, 3:] + 1) % VOCAB, [3])
    assert cache.length == 3
    np.testing.assert_allclose(in_pieces(model, cache, ids[:, 3:], [3]), model(ids).data[:, 3:], **TIGHT)


def test_room_doubles_up_to_the_context_and_beyond() -> None:
    config = GPTConfig(layers=1, heads=1, dim=2, context=200, positions="none")
    cache, token, rooms = KVCache(config), np.zeros((1, 1, 1, 2), np.float32), []
    for length in range(600):
        k, _ = cache.append(0, token, token)
        cache.advance(slice(0, length + 1))
        if not rooms or rooms[-1] != cache.nbytes // 16:
            rooms.append(cache.nbytes // 16)  # 2 arrays x 2 numbers x 4 bytes a token
        assert k.shape == (1, 1, length + 1, 2)
    assert rooms == [64, 128, 200, 256, 512, 1024]


@given(configs(), st.integers(1, 3))
def test_accounting_knows_the_size(config: GPTConfig, batch_size: int) -> None:
    cache, model = KVCache(config), GPT(config)
    in_pieces(model, cache, np.zeros((batch_size, CONTEXT), dtype=int), [CONTEXT])
    assert cache.nbytes == cache_bytes(config, batch_size=batch_size) == CONTEXT * cache_bytes(config, 1, batch_size)


def refused(error: type[Exception], words: str, model: GPT, **options: Any) -> None:
    with pytest.raises(error, match=words):
        model(np.zeros((1, 3), dtype=int), **options)


def test_what_a_cache_cannot_do_is_said() -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=4, layers=1, heads=2, dim=8), 0)
    cache = KVCache(model.config)
    refused(RuntimeError, r"inside `with no_grad\(\):`", model, cache=cache)
    with no_grad():
        refused(
            ValueError,
            "packed documents cannot go into a cache",
            model,
            cache=cache,
            documents=np.zeros((1, 3), dtype=int),
        )
        model(np.zeros((1, 3), dtype=int), cache=cache)
        refused(ValueError, "has 6 tokens and the model has learned 4 positions", model, cache=cache)
    with pytest.raises(ValueError, match="holds 3 tokens and cannot be truncated to 5"):
        cache.truncate(5)


def test_a_cache_that_forgets_is_caught() -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=16, layers=1, heads=2, dim=8), 0)
    ids, cache = token_ids(np.random.default_rng(0), 1, 8), KVCache(model.config)
    in_pieces(model, cache, ids[:, :4], [4])
    cache._keys[0][:, :, 1] = 0
    assert not np.allclose(in_pieces(model, cache, ids[:, 4:], [4]), model(ids).data[:, 4:], **TIGHT)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rope", "alibi", "none"])
def test_a_first_call_of_padding_alone_or_of_nothing(positions: Any) -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=16, layers=1, heads=2, dim=8, positions=positions), 0)
    ids, cache = token_ids(np.random.default_rng(0), 2, 6), KVCache(model.config)
    mask = np.array([[False] * 2 + [True] * 4] * 2)
    found = in_pieces(model, cache, ids, [0, 2, 4], mask)
    np.testing.assert_allclose(found[:, 2:], model(ids[:, 2:]).data, **TIGHT)
