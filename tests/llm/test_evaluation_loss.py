"""An evaluation is the plain average over its batches for any number of workers, and leaves the model as it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation.loss import Evaluation, Validation, evaluate
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.threads import Threads
from llm.training.objectives import NextToken
from minigrad import no_grad

V, T = 11, 6


def make(**shape: float) -> GPT:
    return GPT(GPTConfig(vocab_size=V, context=T, layers=1, heads=2, dim=8, **shape), rng=1, dtype=np.float64)  # type: ignore[arg-type]


def batches(seed: int, sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    ids = [np.random.default_rng((seed, i)).integers(0, V, (rows, T + 1)) for i, rows in enumerate(sizes)]
    return [(rows[:, :-1], rows[:, 1:]) for rows in ids]


def plain_average(model: GPT, pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Over all tokens, from the logits."""
    losses = []
    with no_grad():
        for inputs, targets in pairs:
            logits = model(inputs).numpy()
            log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            losses.extend(-np.take_along_axis(log_probabilities, targets[..., None], axis=-1).ravel())
    return float(np.mean(losses))


@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), count=st.integers(1, 3))
def test_an_evaluation_is_the_average_over_tokens_for_any_number_of_workers(
    seed: int, sizes: list[int], count: int
) -> None:
    model, pairs = make(dropout=0.5), batches(seed, sizes)
    workers = Threads(model, NextToken(), count)
    found = evaluate(workers, Validation(pairs, 2.0))
    assert found.loss == evaluate(workers, Validation(pairs, 2.0)).loss, "nothing is dropped"
    assert found.loss == evaluate(Threads(model, NextToken(), 1), Validation(pairs, 2.0)).loss, (
        "the same bits with any number of workers"
    )
    workers.close()
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert found.loss == pytest.approx(plain_average(model.eval(), pairs), rel=1e-12)  # type: ignore[arg-type]


@pytest.mark.control
def test_an_average_over_batches_of_different_size_is_noticed() -> None:
    """The mean of the means of batches."""
    model, pairs = make(), batches(2, [1, 4])
    means = float(np.mean([plain_average(model, [pair]) for pair in pairs]))
    assert evaluate(Threads(model, NextToken(), 1), Validation(pairs, 2.0)).loss != pytest.approx(means, rel=1e-6)


def test_a_model_in_evaluation_mode_stays_in_it() -> None:
    model = make()
    model.eval()
    evaluate(Threads(model, NextToken(), 1), Validation(batches(1, [2])))
    assert not model.training


def test_perplexity_and_bits_per_byte() -> None:
    """A model that knows nothing of V = 256 bytes takes 8 bits for each, or 2 with tokens of 4 bytes."""
    guess = Evaluation(math.log(256), bytes_per_token=1.0)
    assert guess.perplexity == pytest.approx(256)
    assert guess.bits_per_byte == pytest.approx(8)
    assert Evaluation(math.log(256), bytes_per_token=4.0).bits_per_byte == pytest.approx(2)
    assert str(guess) == "loss 5.5452, perplexity 256.00, 8.000 bits per byte"
    assert math.isfinite(Evaluation(1e9, 1.0).perplexity)
    assert math.isnan(Evaluation(math.nan, 1.0).perplexity)


def test_a_loss_that_is_not_one_of_text_has_no_bits_per_byte() -> None:
    assert str(Evaluation(0.5)) == "loss 0.5000"
    with pytest.raises(ValueError, match="bits per byte need to know how many bytes a token has; set bytes_per_token"):
        _ = Evaluation(0.5).bits_per_byte
