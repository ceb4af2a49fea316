"""Memory while decoding: no array is copied for each token, and nothing grows with the square of the length."""

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

LENGTH = 1024  # tokens
MAX_BYTES = (
    40 * 4 * LENGTH
)  # 40 rows of LENGTH numbers: scores of two heads need some. All pairs need 25 times as much.


def small_gpt(**options: Any) -> GPT:
    return GPT(GPTConfig(vocab_size=32, context=LENGTH, layers=2, heads=2, dim=8, **options)).eval()


def text(length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 32, (1, length))


def peak(work: Callable[[], Any]) -> int:
    """The largest number of bytes that `work` holds at any time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def decode(model: GPT, cache: KVCache, ids: np.ndarray) -> None:
    with no_grad():
        for t in range(ids.shape[1]):
            model.logits(model.hidden(ids[:, t : t + 1], cache=cache)[:, -1])


def read(model: GPT, ids: np.ndarray) -> KVCache:
    cache = KVCache(model.config)
    with no_grad():
        model.logits(model.hidden(ids, cache=cache)[:, -1])
    return cache


def copied_by(growth: Callable[[KVCache, int], None], tokens: int) -> int:
    """How many tokens one layer copies from one array into a larger one while `tokens` are appended one by one."""
    cache, copied = KVCache(GPTConfig(layers=1, heads=1, dim=2, context=LENGTH, positions="none")), 0
    for length in range(tokens):
        before = cache._keys[0]
        growth(cache, length)
        copied += length if before is not None and cache._keys[0] is not before else 0
    return copied


def append(cache: KVCache, length: int) -> None:
    token = np.zeros((1, 1, 1, 2), np.float32)
    cache.append(0, token, token)
    cache.advance(slice(0, length + 1))


def test_a_token_is_copied_less_than_twice_on_average() -> None:
    """The capacity doubles, so 64 + 128 + ... tokens are copied."""
    for tokens in (64, 65, 200, 513, LENGTH):
        assert copied_by(append, tokens) < 2 * tokens


@pytest.mark.control
def test_a_cache_that_copies_for_each_token_is_noticed() -> None:
    def concatenate(cache: KVCache, length: int) -> None:
        append(cache, length)
        cache._keys[0] = cache._keys[0][:, :, : length + 1].copy()

    assert copied_by(concatenate, 200) > 2 * 200


@pytest.mark.parametrize("options", [{}, {"positions": "rope", "kv_heads": 1}, {"window": 100}, {"positions": "alibi"}])
def test_decoding_takes_memory_in_proportion_to_the_length(options: dict[str, Any]) -> None:
    """Twenty tokens at the end of a long text need some rows of scores. The cache does not grow any more."""
    model = small_gpt(**options)
    cache = read(model, text(LENGTH - 30))
    decode(model, cache, text(5))  # position tables are made here
    assert peak(lambda: decode(model, cache, text(20))) < MAX_BYTES


def growth() -> float:
    """The memory to read a long text over that for half of it: 2 if in proportion to the length, 4 if to its square."""
    model = small_gpt()
    read(model, text(LENGTH))  # position tables are made here
    short, long = (peak(partial(read, model, text(length))) for length in (LENGTH // 2, LENGTH))
    return long / short


def test_reading_takes_memory_in_proportion_to_the_length() -> None:
    assert growth() < 2.5


@pytest.mark.control
def test_attention_that_makes_all_scores_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.model.attention.attention", attention_reference)
    assert growth() > 3.5


@pytest.mark.control
def test_a_square_array_made_while_decoding_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_gpt()
    cache = read(model, text(LENGTH - 30))

    def wasteful(q: Any, k: Any, v: Any, *options: Any) -> Any:
        np.zeros((k.shape[2], k.shape[2]), np.float32)
        return single_query_attention(q, k, v, *options)

    monkeypatch.setattr("llm.model.attention.single_query_attention", wasteful)
    assert peak(lambda: decode(model, cache, text(20))) > MAX_BYTES
