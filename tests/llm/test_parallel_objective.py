"""Objectives other than next-token prediction: any split of their batches gives the gradient of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.gpt import GPT
from llm.parallel.objective import Batch, Objective
from llm.parallel.threads import Threads
from llm.parallel.workers import Workers
from llm.training.step import train_step
from minigrad import Tensor, exp, log
from tests.llm.steps import KINDS, T, V, assert_close, gradients, model_and_optimizer, workers_of

IGNORED = -100


class Answers:
    """Fine-tuning: some targets are not to be learned, and a row holds several documents."""

    def loss_sum(self, model: GPT, batch: Batch) -> Tensor:
        inputs, targets, documents = batch
        return model.loss(inputs, targets, documents=documents, reduction="sum")

    def count(self, batch: Batch) -> int:
        return int(np.count_nonzero(batch[1] != IGNORED))

    def batch(self, rng: np.random.Generator, rows: int) -> Batch:
        inputs, targets = rng.integers(0, V, (2, rows, T))
        targets[rng.random((rows, T)) < 0.5] = IGNORED
        targets[0, 0] = 1  # at least one counts
        return inputs, targets, np.sort(rng.integers(0, 3, (rows, T)), axis=1)


class Preferences:
    """DPO (Rafailov et al. 2023, arXiv 2305.18290): the texts of a row are a chosen and a rejected one."""

    def loss_sum(self, model: GPT, batch: Batch) -> Tensor:
        inputs, targets, reference = batch  # (rows, 2, T), (rows, 2, T), (rows, 2)
        flat = [array.reshape(-1, array.shape[-1]) for array in (inputs, targets)]  # (2 rows, T)
        losses = model.loss(*flat, reduction="none").reshape(len(inputs), 2, -1)
        advantage = -losses.sum(axis=-1) - reference  # (rows, 2): how much more likely than for the reference
        margin = advantage[:, 0] - advantage[:, 1]
        return log(1 + exp(-0.5 * margin)).sum()  # -log sigmoid

    def count(self, batch: Batch) -> int:
        return len(batch[0])

    def batch(self, rng: np.random.Generator, rows: int) -> Batch:
        inputs, targets = rng.integers(0, V, (2, rows, 2, T))
        return inputs, targets, -rng.random((rows, 2)) * 2 * T


class Advantages:
    """A policy gradient: the losses of sampled tokens, each weighted with an advantage."""

    def loss_sum(self, model: GPT, batch: Batch) -> Tensor:
        inputs, targets, advantages = batch
        return (model.loss(inputs, targets, reduction="none") * advantages).sum()

    def count(self, batch: Batch) -> int:
        return batch[1].size

    def batch(self, rng: np.random.Generator, rows: int) -> Batch:
        inputs, targets = rng.integers(0, V, (2, rows, T))
        return inputs, targets, rng.standard_normal((rows, T))


class MeanOfRows(Answers):
    """Broken: the mean of each part, so a part with few targets counts as much as one with many."""

    def loss_sum(self, model: GPT, batch: Batch) -> Tensor:
        return super().loss_sum(model, batch) / super().count(batch) * len(batch[0])

    def count(self, batch: Batch) -> int:
        return len(batch[0])


def check_split(objective: Any, kind: type[Workers], seed: int, rows: int, count: int, micro_batches: int) -> None:
    """Compare with one backward pass of the loss of the whole batch."""
    (model, _), (plain, _) = model_and_optimizer(), model_and_optimizer()
    batch = objective.batch(np.random.default_rng(seed), rows)
    with workers_of(model, count, kind, objective) as workers:
        loss = workers.accumulate(batch, micro_batches=micro_batches)
    expected = objective.loss_sum(plain, batch) / objective.count(batch)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert_close(gradients(model), gradients(plain))


@KINDS
@pytest.mark.parametrize("objective", [Answers(), Preferences(), Advantages()], ids=lambda each: type(each).__name__)
@settings(max_examples=max(5, settings().max_examples // 5))  # processes are forked for each
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 7), count=st.integers(1, 3), micro_batches=st.integers(1, 3))
def test_a_split_batch_has_the_loss_and_gradient_of_the_whole(
    kind: type[Workers], objective: Objective, seed: int, rows: int, count: int, micro_batches: int
) -> None:
    check_split(objective, kind, seed, rows, count, micro_batches)


@pytest.mark.control
def test_an_objective_that_returns_means_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check_split(MeanOfRows(), Threads, seed=1, rows=5, count=2, micro_batches=1)


def test_arrays_with_different_numbers_of_rows_are_refused() -> None:
    model, optimizer = model_and_optimizer()
    with workers_of(model, 2) as workers:
        for batch in (np.zeros((3, T), int), np.zeros((2, T), int)), (), (np.zeros((0, T), int),) * 2:
            with pytest.raises(
                ValueError, match="the arrays of a batch need the same number of rows, at least one, got"
            ):
                workers.accumulate(batch)


def test_a_batch_without_a_target_changes_nothing() -> None:
    model, optimizer = model_and_optimizer()
    before = [array.tobytes() for array in model.state_dict().values()]
    batch = (np.zeros((2, T), int), np.full((2, T), IGNORED), np.zeros((2, T), int))
    with workers_of(model, 2, objective=Answers()) as workers:
        assert not train_step(workers, optimizer, batch, lr=0.01).updated
    assert [array.tobytes() for array in model.state_dict().values()] == before
