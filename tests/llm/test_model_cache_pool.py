"""The cache of many texts: any texts, read in any pieces and in any slots, get the logits that each one has alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.model.cache_pool import CachePool
from llm.model.config import GPTConfig
from minigrad import no_grad
from tests.llm.gpts import CONTEXT, FLOAT64_SUMS, SEEDS, VOCAB, configs, random_gpt, token_ids

SLOTS = 3


@given(configs(), SEEDS, st.lists(st.integers(1, CONTEXT - 6), min_size=SLOTS, max_size=SLOTS), st.integers(1, 5))
def test_texts_of_different_lengths_are_continued_together(
    config: GPTConfig, seed: int, lengths: list[int], chunk: int
) -> None:
    model, rng, pool = random_gpt(config, seed), np.random.default_rng(seed), CachePool(config, SLOTS, chunk=chunk)
    texts = [token_ids(rng, length) for length in lengths]
    with no_grad():
        for slot, text in enumerate(texts):
            for begin in range(0, len(text), chunk):
                x = model.hidden(text[None, begin : begin + chunk], cache=pool.rows([slot]))
            np.testing.assert_allclose(x.data[0, -1], alone(model, text), **FLOAT64_SUMS)
        for _ in range(6):
            rows = rng.permutation(SLOTS)[: rng.integers(1, SLOTS + 1)]
            new = token_ids(rng, len(rows), 1)
            x = model.hidden(new, cache=pool.rows(rows))
            for slot, token, row in zip(rows, new, x.data, strict=True):
                texts[slot] = np.concatenate([texts[slot], token])
                np.testing.assert_allclose(row[0], alone(model, texts[slot]), **FLOAT64_SUMS)
    assert pool.lengths == [len(text) for text in texts]


@given(configs(), SEEDS, st.integers(1, CONTEXT // 5))
def test_texts_are_read_together_in_pieces_of_any_length(config: GPTConfig, seed: int, chunk: int) -> None:
    model, rng, pool = random_gpt(config, seed), np.random.default_rng(seed), CachePool(config, SLOTS, chunk=chunk)
    texts = [token_ids(rng, 0) for _ in range(SLOTS)]
    with no_grad():
        for _ in range(5):
            slots = rng.permutation(SLOTS)[: rng.integers(1, SLOTS + 1)].tolist()
            new = [token_ids(rng, rng.integers(1, min(chunk, CONTEXT - len(texts[slot])) + 1)) for slot in slots]
            ids = np.concatenate(new)
            ids = ids[None] if len(slots) == 1 else ids[:, None]
            x = model.hidden(ids, cache=pool.rows(slots, [len(each) for each in new])).data.reshape(
                len(ids.ravel()), -1
            )
            ends = np.cumsum([len(each) for each in new])
            for slot, added, rows in zip(slots, new, np.split(x, ends[:-1]), strict=True):
                texts[slot] = np.concatenate([texts[slot], added])
                expected = model.hidden(texts[slot][None]).data[0, -len(added) :]
                np.testing.assert_allclose(rows, expected, **FLOAT64_SUMS)
    assert pool.lengths == [len(text) for text in texts]


def alone(model, text: np.ndarray) -> np.ndarray:
    """The vector (C,) of the last token, without a cache."""
    return model.hidden(text[None]).data[0, -1]


@given(configs(), SEEDS, st.integers(1, 12), st.integers(0, 12), st.booleans())
def test_a_beginning_is_kept_or_copied(config: GPTConfig, seed: int, read: int, kept: int, copies: bool) -> None:
    model, rng, pool = random_gpt(config, seed), np.random.default_rng(seed), CachePool(config, 2, chunk=3)
    text, other = token_ids(rng, read), token_ids(rng, 4)
    with no_grad():
        for begin in range(0, read, 3):
            model.hidden(text[None, begin : begin + 3], cache=pool.rows([0]))
        if not pool.can_truncate(0, kept):
            with pytest.raises(ValueError, match="slot 0 does not hold"):
                pool.truncate(0, kept)
            return
        slot = 1 if copies else 0
        pool.copy(0, 1, kept) if copies else pool.truncate(0, kept)
        for begin in range(0, 4, 3):
            x = model.hidden(other[None, begin : begin + 3], cache=pool.rows([slot]))
        np.testing.assert_allclose(x.data[0, -1], alone(model, np.append(text[:kept], other)), **FLOAT64_SUMS)


def test_a_copy_of_a_text_whose_beginning_is_forgotten() -> None:
    model = random_gpt(small(window=3), 0)
    pool, text = CachePool(model.config, 2, chunk=3), token_ids(np.random.default_rng(0), 12)
    with no_grad():
        for begin in range(0, 12, 3):
            model.hidden(text[None, begin : begin + 3], cache=pool.rows([0]))
        assert pool.layers[0].first[0] > 0
        pool.copy(0, 1, 12)
        x = model.hidden(np.array([[5]]), cache=pool.rows([1]))
        np.testing.assert_allclose(x.data[0, -1], alone(model, np.append(text, 5)), **FLOAT64_SUMS)


def test_what_a_window_has_forgotten_cannot_be_truncated_to() -> None:
    model = random_gpt(small(window=3), 0)
    pool = CachePool(model.config, 1, chunk=3)
    with no_grad():
        for _ in range(12):
            model.hidden(np.array([[1]]), cache=pool.rows([0]))
    assert pool.layers[0].room == 6
    possible = [length for length in range(13) if pool.can_truncate(0, length)]
    assert possible[0] == 0
    assert possible[1:] == list(range(pool.layers[0].first[0] + 2, 13))
    assert 12 in possible
    assert 4 not in possible


def test_memory_is_that_of_the_capacity_and_of_windows() -> None:
    config = small(window=3, window_layers=(0,), layers=2)
    pool = CachePool(config, 2, capacity=20, chunk=3)
    with no_grad():
        random_gpt(config, 0).hidden(np.array([[1]]), cache=pool.rows([1]))
    per_token = 2 * config.key_heads * config.head_size * 8  # keys and values, float64
    assert pool.nbytes == 2 * per_token * (6 + 20)


def test_a_full_slot_and_padding_are_refused() -> None:
    model = random_gpt(small(), 0)
    pool = CachePool(model.config, 2, capacity=4)
    with no_grad():
        with pytest.raises(ValueError, match="room for 4 tokens, and 5 do not fit"):
            model.hidden(np.array([[1] * 5]), cache=pool.rows([0]))
        assert pool.lengths == [0, 0]
        model.hidden(np.array([[1] * 4]), cache=pool.rows([0]))
        with pytest.raises(ValueError, match="room for 4 tokens, and 5 do not fit"):
            model.hidden(np.array([[1], [1]]), cache=pool.rows([0, 1]))
        with pytest.raises(ValueError, match="one token each"):
            model.hidden(np.array([[1, 2], [1, 2]]), cache=pool.rows([0, 1]))
        with pytest.raises(ValueError, match="one token each"):
            model.hidden(np.array([[1], [1]]), mask=np.array([[True], [False]]), cache=pool.rows([0, 1]))


def small(**choices) -> GPTConfig:
    return GPTConfig(
        **{"vocab_size": VOCAB, "context": CONTEXT, "layers": 1, "heads": 2, "dim": 8, "positions": "rope"} | choices
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of the process from /proc")
def test_room_that_no_text_uses_takes_no_memory() -> None:
    pool = CachePool(GPTConfig(vocab_size=VOCAB, context=4096, layers=1, heads=4, dim=256), slots=16)
    token = np.ones((1, 4, 1, 64), np.float32)  # (1, K, T, D)
    pool.rows([0]).append(0, token, token)
    before = resident_bytes()
    for slot in range(16):
        pool.rows([slot]).append(0, token, token)
    assert pool.nbytes == 2 * 16 * 4 * 4096 * 64 * 4 > 100e6
    assert resident_bytes() - before < 10e6


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
