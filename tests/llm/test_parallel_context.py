"""Ranks with some tokens of each text have, together, the loss and every gradient of one process."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.context import gpt, ring
from llm.parallel.context.gpt import ContextGPT, check_context
from minigrad import no_grad
from tests.llm.gpts import SEEDS
from tests.llm.split_models import EXACT, batch, loss_and_gradients, splits, trained_weights


def context_model(config: GPTConfig, weights: dict[str, Any], ranks: Communicator) -> ContextGPT:
    model = ContextGPT(config, ranks, rng=None, dtype=np.float64)
    model.load_state_dict(weights)
    return model


def check(config: GPTConfig, size: int, seed: int, *, T: int = 7, recompute: bool = False, **more: Any) -> None:
    weights, arguments = trained_weights(config, seed), batch(seed, 2, T) | more
    whole = GPT(config, rng=None, dtype=np.float64)
    whole.load_state_dict(weights)
    loss, expected = loss_and_gradients(whole, **arguments)

    def run(ranks: Communicator) -> tuple[float, dict[str, np.ndarray]]:
        model = context_model(config, weights, ranks)
        model.recompute = recompute
        return loss_and_gradients(model, **arguments)

    losses, gradients = zip(*run_ranks(size, run), strict=True)
    assert sum(losses) == pytest.approx(loss, rel=EXACT, abs=EXACT)
    for name, g in expected.items():
        found = sum(each[name] for each in gradients)
        np.testing.assert_allclose(found, g, rtol=0, atol=EXACT * max(1, abs(g).max()), err_msg=name)


@st.composite
def divided(draw: st.DrawFn) -> GPTConfig:
    config = replace(draw(splits())[0], balance_loss=0.0)
    try:
        check_context(config)
    except ValueError:
        assume(False)
    return config


@given(
    config=divided(), size=st.integers(1, 4), T=st.integers(4, 24), seed=SEEDS, recompute=st.booleans(),
    reduction=st.sampled_from(["mean", "sum"]),
)  # fmt: skip
def test_the_losses_and_gradients_of_the_ranks_add_up_to_those_of_one_process(
    config: GPTConfig, size: int, T: int, seed: int, recompute: bool, reduction: str
) -> None:
    check(config, size, seed, T=T, recompute=recompute, reduction=reduction, label_smoothing=0.1)


@given(config=divided(), size=st.integers(2, 4), seed=SEEDS)
def test_logits_are_those_of_one_process(config: GPTConfig, size: int, seed: int) -> None:
    config = replace(config, dropout=0.0)
    weights, ids = trained_weights(config, seed), batch(seed, 2, 4)["ids"]  # with 4 ranks, a token for each
    whole = GPT(config, rng=None, dtype=np.float64)
    whole.load_state_dict(weights)
    with no_grad():
        expected = whole.eval()(ids).data

    def run(ranks: Communicator) -> np.ndarray:
        with no_grad():
            return context_model(config, weights, ranks)(ids).data

    found = np.concatenate(run_ranks(size, run), axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * max(1, abs(expected).max()))


@given(config=divided(), seed=SEEDS)
def test_in_evaluation_each_rank_reads_whole_texts(config: GPTConfig, seed: int) -> None:
    """No other rank is asked for anything. With a cache too: train.py evaluates and writes samples so."""
    weights, ids = trained_weights(config, seed), batch(seed, 2, 5)["ids"]
    whole = GPT(config, rng=None, dtype=np.float64)
    whole.load_state_dict(weights)
    lonely: Any = SimpleNamespace(rank=1, size=3)  # it can neither send nor receive
    model = context_model(config, weights, lonely)
    with no_grad():
        for each in (whole, model):
            each.eval()
        cache = KVCache(config)
        found = [model(ids[:, i : i + 1], cache=cache).data for i in range(ids.shape[1])]
        expected = whole(ids).data
    np.testing.assert_array_equal(model(ids).data, expected)
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, rtol=1e-8, atol=1e-10)


SMALL = GPTConfig(vocab_size=13, context=24, layers=2, heads=4, kv_heads=2, dim=16, positions="rope", window=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": np.zeros((1, 2), int)}, "a text of 2 tokens cannot be divided over 3 ranks"),
        ({"ids": np.zeros((1, 4), int), "mask": np.ones((1, 4), bool)}, "divided over ranks in plain texts only"),
    ],
    ids=["short", "mask"],
)
def test_texts_that_cannot_be_divided_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_ranks(3, lambda ranks: ContextGPT(SMALL, ranks)(**arguments))


def test_a_balancing_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="the balancing loss is that of all tokens"):
        check_context(replace(SMALL, experts=2, balance_loss=0.1))


@pytest.mark.control
def test_mistakes_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SMALL, dropout=0.3)
    check(config, 3, seed=1)
    broken = [
        (gpt, "placed", lambda *parts: nullcontext()),  # masks that forget which tokens they are for
        (ring, "_Window", lambda own, others, window: None),  # no window
        (ring.Ring, "pass_on", lambda self, array, owner: array[:, :, : len(self.tokens[owner])]),  # nothing is sent
    ]
    for module, name, function in broken:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, function)
            with pytest.raises(AssertionError):
                check(config, 3, seed=1, T=6)
