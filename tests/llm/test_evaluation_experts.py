"""How evenly experts are used: the shares are counted right, printed at evaluations, and kept in metrics.jsonl."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation.experts import describe_shares, expert_shares
from llm.evaluation.loss import Validation, evaluate
from llm.model.cost import parameters, training_flops
from llm.model.gpt import GPT
from llm.runs.metrics import read_metrics
from llm.runs.presets import presets
from minigrad import no_grad
from tests.llm.gpts import SEEDS, random_gpt, token_ids
from tests.llm.steps import workers_of
from tests.llm.test_model_experts import MIXTURE
from tests.llm.trainings import train, without_pictures


def shares_of(model: GPT, batches: list[np.ndarray], workers: int) -> Any:
    with workers_of(model, workers) as pool:
        return expert_shares(pool, [(ids, ids) for ids in batches])


@given(SEEDS, st.integers(1, 3), st.integers(1, 4), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_shares_are_counted_token_by_token(seed: int, workers: int, k: int, rows: list[int]) -> None:
    model, rng = random_gpt(replace(MIXTURE, experts_per_token=k), seed), np.random.default_rng(seed)
    batches, counts = [token_ids(rng, n, 6) for n in rows], np.zeros((2, 4))
    for text in np.concatenate(batches):
        routing: list[Any] = []
        with no_grad():
            model.hidden(text[None], routing=routing)
        for layer, decision in enumerate(routing):
            for expert in decision.chosen.reshape(-1):
                counts[layer, expert] += 1
    shares = counts / (sum(rows) * 6)
    expected = tuple((layer.min(), layer.max()) for layer in shares)
    assert shares_of(model, batches, workers) == expected
    assert (shares.sum(axis=1) == pytest.approx(k)) and all(least <= k / 4 <= most for least, most in expected)


def test_a_model_without_experts_has_no_shares() -> None:
    for config in (replace(MIXTURE, experts=None), replace(MIXTURE, dense_layers=(0, 1))):
        assert shares_of(random_gpt(config, 0), [np.zeros((1, 3), int)], 1) == ()


def test_an_evaluation_counts_the_first_batch_without_dropout() -> None:
    model = random_gpt(replace(MIXTURE, dropout=0.5), 0).train()
    batches = list(np.random.default_rng(0).integers(0, 13, (3, 2, 2, 5)))
    with workers_of(model, 2) as workers:
        found = evaluate(workers, Validation([tuple(batch) for batch in batches])).expert_shares
    assert found == shares_of(random_gpt(MIXTURE, 0), [batches[0][0]], 1)
    assert model.training


def test_the_sentence_is_about_all_layers_together() -> None:
    said = "an expert computes 1.0% to 60.0% of the tokens of its layer (25.0% if all are even)"
    assert describe_shares(((0.1, 0.6), (0.01, 0.3)), 0.25) == said


def test_training_prints_and_writes_the_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    without_pictures(monkeypatch)
    more = "--layers 2 --experts 4 --dense-layers 0 --balance-loss 0.01 --steps 3 --eval-every 2"
    train(tmp_path / "run", *more.split())
    assert capsys.readouterr().out.count("of the tokens of its layer (50.0% if all are even)") == 2
    first, *others = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert "expert_shares" not in first
    for line in others:
        ((least, most),) = line["expert_shares"]  # one layer has experts
        assert 0 <= least <= 0.5 <= most <= 1


def test_the_small_mixture_costs_as_much_as_the_default_model() -> None:
    """What makes the comparison of docs/LOG.md fair. They differ only by the routers."""
    mixture, dense = presets()["moe-tiny"], presets()["default"]
    assert 1 < training_flops(mixture.model) / training_flops(dense.model) < 1.01
    assert parameters(mixture.model).total > 2 * parameters(dense.model).total
    assert replace(mixture.training, preset="default") == dense.training
