"""What writing costs in memory: nothing is copied for each token, and nothing grows with the square of the text."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from minigrad import no_grad
from minigrad.fused.attention import attention_reference, single_query_attention

LONG = 1024  # tokens
ROWS = 40 * 4 * LONG  # bytes: 40 rows of T numbers, as scores of two heads take some; (T, T) numbers take 25 times that


def small(**options: Any) -> GPT:
    return GPT(GPTConfig(vocab_size=32, context=LONG, layers=2, heads=2, dim=8, **options)).eval()


def text(length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 32, (1, length))


def peak(work: Callable[[], Any]) -> int:
    """The most bytes that `work` has at any time, beyond what was there before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def write(model: GPT, cache: KVCache, ids: np.ndarray) -> None:
    with no_grad():
        for t in range(ids.shape[1]):
            model.logits(model.hidden(ids[:, t : t + 1], cache=cache)[:, -1])


def read(model: GPT, ids: np.ndarray) -> KVCache:
    cache = KVCache(model.config)
    with no_grad():
        model.logits(model.hidden(ids, cache=cache)[:, -1])
    return cache


def copied_by(growth: Callable[[KVCache, int], None], tokens: int) -> int:
    """Tokens that were moved from one array into a larger one, in one layer, while `tokens` came in one by one."""
    cache, moved = KVCache(GPTConfig(layers=1, heads=1, dim=2, context=LONG, positions="none")), 0
    for length in range(tokens):
        before = cache._keys[0]
        growth(cache, length)
        moved += length if before is not None and cache._keys[0] is not before else 0
    return moved


def append(cache: KVCache, length: int) -> None:
    token = np.zeros((1, 1, 1, 2), np.float32)
    cache.append(0, token, token)
    cache.advance(slice(0, length + 1))


def test_a_token_is_copied_less_than_twice_on_average() -> None:
    """Room doubles, so what is copied is 64 + 128 + ... tokens."""
    for tokens in (64, 65, 200, 513, LONG):
        assert copied_by(append, tokens) < 2 * tokens


def test_a_cache_that_copies_for_each_token_is_noticed() -> None:
    """Negative control."""

    def concatenate(cache: KVCache, length: int) -> None:
        append(cache, length)
        cache._keys[0] = cache._keys[0][:, :, : length + 1].copy()

    assert copied_by(concatenate, 200) > 2 * 200


@pytest.mark.parametrize("options", [{}, {"positions": "rope", "kv_heads": 1}, {"window": 100}, {"positions": "alibi"}])
def test_writing_takes_memory_in_proportion_to_the_text(options: dict[str, Any]) -> None:
    """Twenty steps at the end of a long text: some rows of scores. The cache has its room already."""
    model = small(**options)
    cache = read(model, text(LONG - 30))
    write(model, cache, text(5))  # tables are made
    assert peak(lambda: write(model, cache, text(20))) < ROWS


def growth() -> float:
    """How many times as much memory reading takes for a text twice as long: 2 if in proportion to it, 4 if to its
    square.
    """
    model = small()
    read(model, text(LONG))  # tables are made
    short, long = (peak(partial(read, model, text(length))) for length in (LONG // 2, LONG))
    return long / short


def test_reading_a_long_text_takes_memory_in_proportion_to_it() -> None:
    assert growth() < 2.5


def test_scores_of_all_pairs_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: attention as it is defined makes them all."""
    monkeypatch.setattr("llm.model.attention.attention", attention_reference)
    assert growth() > 3.5


def test_a_square_made_while_writing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    model = small()
    cache = read(model, text(LONG - 30))

    def wasteful(q: Any, k: Any, v: Any, *options: Any) -> Any:
        np.zeros((k.shape[2], k.shape[2]), np.float32)
        return single_query_attention(q, k, v, *options)

    monkeypatch.setattr("llm.model.one_token.single_query_attention", wasteful)
    assert peak(lambda: write(model, cache, text(20))) > ROWS
