"""Decoding one token on plain arrays equals `forward`, for every choice of model and for weights that have just
changed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from minigrad import no_grad
from minigrad.modes import op_hook
from tests.llm.gpts import SEEDS, VOCAB, configs, random_gpt, token_ids, without_jumps

DECODED = 5  # tokens after the prompt
# Differences of logits, which are divided by the largest logit if that is above 1. Some hundred terms are added in
# another order: a few units of 1e-16 in float64 and of 6e-8 in float32.
FLOAT64, FLOAT32 = 1e-12, 1e-5
SMALL = GPTConfig(vocab_size=VOCAB, context=24, layers=2, heads=2, dim=8, positions="rope", window=4)


def ops_hooked() -> AbstractContextManager:
    """With a hook on every operation, the model takes `forward` for single tokens too."""
    return op_hook(lambda data, inputs, vjp: vjp)


def cached_logits(
    model: GPT, ids: np.ndarray, prompt: int, context: Callable[[], AbstractContextManager] = nullcontext
) -> np.ndarray:
    """The logits of `ids`: the first `prompt` tokens in one call, the others one by one."""
    cache = KVCache(model.config)
    with no_grad(), context():
        chunks = [model(ids[:, :prompt], cache=cache).data] if prompt else []
        chunks += [model(ids[:, t : t + 1], cache=cache).data for t in range(prompt, ids.shape[1])]
    return np.concatenate(chunks, axis=1)


def difference(model: GPT, seed: int, batch: int = 2, prompt: int = 3) -> float:
    """The largest difference between the logits of `decode` and of `forward`."""
    ids = token_ids(np.random.default_rng(seed), batch, prompt + DECODED)
    decoded, defined = (cached_logits(model, ids, prompt, context) for context in (nullcontext, ops_hooked))
    return float(np.abs(decoded - defined).max() / max(np.abs(defined).max(), 1))


@given(configs(), SEEDS, st.integers(1, 3), st.integers(0, 8))
def test_decode_equals_forward(config: GPTConfig, seed: int, batch: int, prompt: int) -> None:
    assert difference(random_gpt(config, seed), seed, batch, prompt) < FLOAT64


@given(configs(), SEEDS)
def test_decode_equals_forward_in_float32(config: GPTConfig, seed: int) -> None:
    assert difference(random_gpt(without_jumps(config), seed, np.float32), seed) < FLOAT32


USED_BY_DECODE = [
    "minigrad.nn.layers.normalize",
    "minigrad.nn.layers.matvec_as_complex",
    "llm.model.attention.rotate",
    "llm.model.attention.single_query_attention",
    "llm.model.mlp.activate",
]


@pytest.mark.control
@pytest.mark.parametrize("name", USED_BY_DECODE)
def test_an_error_in_a_function_of_decode_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    module, _, function = name.rpartition(".")
    right = getattr(importlib.import_module(module), function)

    def wrong(*arguments: Any, **options: Any) -> Any:
        out = right(*arguments, **options)
        return (1.1 * out[0], *out[1:]) if isinstance(out, tuple) else 1.1 * out

    monkeypatch.setattr(name, wrong)
    assert difference(random_gpt(SMALL, 0), 0) > 1e-3


def test_decode_uses_new_weights_at_once() -> None:
    """New weights may be written into the old arrays (training, loading) or replace them (a change of dtype)."""
    model = random_gpt(SMALL, 1)
    difference(model, 1)
    model.load_state_dict(random_gpt(SMALL, 2).state_dict())
    assert difference(model, 1) < FLOAT64
    model.astype(np.float32).load_state_dict(random_gpt(SMALL, 3).state_dict())
    assert difference(model, 1) < FLOAT32


def uses_decode(model: GPT, monkeypatch: pytest.MonkeyPatch, ids: np.ndarray, **options: Any) -> bool:
    """Whether this call of the model takes `decode` instead of `forward`."""
    calls: list[Any] = []
    monkeypatch.setattr(GPT, "_decode_blocks", lambda self, x, *rest: calls.append(1) or x)
    model(ids, **options)
    return bool(calls)


def test_decode_is_used_for_one_token_and_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    model, one, two = random_gpt(SMALL, 0), np.zeros((2, 1), dtype=int), np.zeros((2, 2), dtype=int)
    assert not uses_decode(model, monkeypatch, one)  # recording
    with no_grad():
        assert uses_decode(model, monkeypatch, one)
        assert not uses_decode(model, monkeypatch, two)
        assert not uses_decode(model, monkeypatch, one, mask=np.ones((2, 1), dtype=bool))
        assert not uses_decode(model.train(), monkeypatch, one)  # dropout
        model.eval()
        with ops_hooked():
            assert not uses_decode(model, monkeypatch, one)
        assert not uses_decode(model.astype(np.float16), monkeypatch, one)
