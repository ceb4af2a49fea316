"""The fast rung of writing: the logits of the blocks as they are defined, for every choice of model, and with the
weights of the moment.
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
from tests.llm.gpts import SEEDS, VOCAB, configs, lively, token_ids

WRITTEN = 5
ROUNDING = (
    1e-12  # float64: sums of some hundred terms in another order; logits are divided by the largest if that is above 1
)
SMALL = GPTConfig(vocab_size=VOCAB, context=24, layers=2, heads=2, dim=8, positions="rope", window=4)


def watched() -> AbstractContextManager:
    """Somebody looks at every op, so that the model does not take the fast rung."""
    return op_hook(lambda data, inputs, vjp: vjp)


def logits(
    model: GPT, ids: np.ndarray, prompt: int, context: Callable[[], AbstractContextManager] = nullcontext
) -> np.ndarray:
    """Those of `prompt` tokens read at once and the rest one by one."""
    cache = KVCache(model.config)
    with no_grad(), context():
        pieces = [model(ids[:, :prompt], cache=cache).data] if prompt else []
        pieces += [model(ids[:, t : t + 1], cache=cache).data for t in range(prompt, ids.shape[1])]
    return np.concatenate(pieces, axis=1)


def difference(model: GPT, seed: int, batch: int = 2, prompt: int = 3) -> float:
    """The largest between the fast rung and the definition, relative to logits above 1."""
    ids = token_ids(np.random.default_rng(seed), batch, prompt + WRITTEN)
    fast, plain = (logits(model, ids, prompt, context) for context in (nullcontext, watched))
    return float(np.abs(fast - plain).max() / max(np.abs(plain).max(), 1))


@given(configs(), SEEDS, st.integers(1, 3), st.integers(0, 8))
def test_writes_what_the_definition_writes(config: GPTConfig, seed: int, batch: int, prompt: int) -> None:
    assert difference(lively(config, seed), seed, batch, prompt) < ROUNDING


@given(configs(), SEEDS)
def test_in_float32_too(config: GPTConfig, seed: int) -> None:
    """Within 1e-5: numbers of 24 bits, 6e-8, a few hundred of them added up."""
    assert difference(lively(config, seed, np.float32), seed) < 1e-5


@pytest.mark.parametrize("name", ["normalize", "rotate", "single_query_attention", "matvec_as_complex", "activate"])
def test_a_wrong_function_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control, and each function of the rung is called."""
    import llm.model.one_token

    right = getattr(llm.model.one_token, name)

    def wrong(*arguments: Any, **options: Any) -> Any:
        out = right(*arguments, **options)
        return (1.1 * out[0], *out[1:]) if isinstance(out, tuple) else 1.1 * out

    monkeypatch.setattr(llm.model.one_token, name, wrong)
    assert difference(lively(SMALL, 0), 0) > 1e-3


def test_new_weights_count_at_once() -> None:
    """Written into, as training and loading do, or replaced, as a change of dtype does."""
    model = lively(SMALL, 1)
    difference(model, 1)
    model.load_state_dict(lively(SMALL, 2).state_dict())
    assert difference(model, 1) < ROUNDING
    model.astype(np.float32).load_state_dict(lively(SMALL, 3).state_dict())
    assert difference(model, 1) < 1e-5


def taken(model: GPT, monkeypatch: pytest.MonkeyPatch, ids: np.ndarray, **options: Any) -> bool:
    """Whether a call of the model takes the fast rung."""
    calls: list[Any] = []
    monkeypatch.setattr("llm.model.gpt.through_blocks", lambda blocks, x, *rest: calls.append(1) or x)
    model(ids, **options)
    return bool(calls)


def test_it_is_taken_for_one_token_and_left_for_whatever_else(monkeypatch: pytest.MonkeyPatch) -> None:
    model, one, two = lively(SMALL, 0), np.zeros((2, 1), dtype=int), np.zeros((2, 2), dtype=int)
    assert not taken(model, monkeypatch, one)  # recording
    with no_grad():
        assert taken(model, monkeypatch, one)
        assert not taken(model, monkeypatch, two)
        assert not taken(model, monkeypatch, one, mask=np.ones((2, 1), dtype=bool))
        assert not taken(model.train(), monkeypatch, one)  # dropout
        model.eval()
        with watched():
            assert not taken(model, monkeypatch, one)
        assert not taken(model.astype(np.float16), monkeypatch, one)
