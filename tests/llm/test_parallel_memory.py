"""--micro-batches bounds the rows that are in memory at the same time, however many workers there are."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation import loss as evaluation
from llm.evaluation.loss import Validation, evaluate
from llm.model.config import GPTConfig
from llm.model.cost import activation_bytes
from llm.model.gpt import GPT
from llm.parallel.objective import Batch, rows_at_once
from llm.parallel.threads import Threads
from llm.parallel.workers import WorkerBatch, Workers
from llm.runs.options import TrainOptions
from llm.training.objectives import NextToken
from llm.training.setup import worker_count
from tests.llm.steps import model_and_optimizer, random_batch, workers_of


class Recorder(Workers):
    """Notes what its workers would compute at the same time."""

    kind = "threads"

    def __init__(self, count: int):
        super().__init__(model_and_optimizer()[0], NextToken(), count)
        self.calls: list[Sequence[WorkerBatch]] = []

    def _accumulate(self, batches: Sequence[WorkerBatch]) -> float:
        self.calls.append(batches)
        return 1.0

    def map(self, f: Callable[[int, Any], Any], items: Sequence) -> list:
        raise NotImplementedError

    def close(self) -> None: ...


@given(rows=st.integers(1, 20), count=st.integers(1, 9), micro_batches=st.integers(1, 25))
def test_all_workers_together_hold_the_rows_of_one_micro_batch(rows: int, count: int, micro_batches: int) -> None:
    workers, batch = Recorder(count), random_batch(1, rows)
    workers.accumulate(batch, micro_batches=micro_batches, seed=(7, 3))
    at_once = [sum(len(each.rows[0]) for each in call) for call in workers.calls]
    assert max(at_once) == rows_at_once(rows, micro_batches) == -(-rows // min(rows, micro_batches))
    assert len(at_once) == min(rows, micro_batches)
    parts = [each for call in workers.calls for each in call]
    for array, whole in zip(zip(*(each.rows for each in parts)), batch):
        np.testing.assert_array_equal(np.concatenate(array), whole)
    assert {each.divisor for each in parts} == {batch[1].size}
    assert {each.seed for each in parts} == {(7, 3)}
    places = [row for each in parts for row in range(each.place.start, each.place.stop)]
    assert places == list(range(rows)), "each row has its own part of the masks of dropout"
    assert all(len(call) == min(count, n) for call, n in zip(workers.calls, at_once)), "no worker is idle without need"


@pytest.mark.parametrize(("count", "micro_batches"), [(1, 1), (1, 8), (4, 1), (4, 8), (4, 4)])
def test_the_peak_of_a_step_follows_the_rows_at_once(count: int, micro_batches: int) -> None:
    config = GPTConfig(vocab_size=100, context=128, layers=3, heads=4, dim=64)
    model, rows = GPT(config), rows_at_once(8, micro_batches)
    ids = np.zeros((8, 128), dtype=int)
    with workers_of(model, count) as workers:
        workers.accumulate((ids, ids))  # threads, tables, gradients
        tracemalloc.start()
        workers.accumulate((ids, ids), micro_batches=micro_batches)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Some arrays that exist only inside a function, such as gradients, are not counted: about those of one row.
    assert peak < 1.4 * activation_bytes(config, rows, workers=min(count, rows)) + activation_bytes(config, 1)


@given(batch_size=st.integers(1, 99), micro_batches=st.integers(1, 99), threads=st.integers(1, 9))
def test_there_are_no_more_workers_than_rows_at_once(batch_size: int, micro_batches: int, threads: int) -> None:
    options = TrainOptions(batch_size=batch_size, micro_batches=min(micro_batches, batch_size), threads=threads)
    assert worker_count(options, "cpu") == min(threads, rows_at_once(batch_size, options.micro_batches))
    assert worker_count(options, "cuda") == 1


@given(rows=st.lists(st.integers(1, 9), min_size=1, max_size=3), limit=st.integers(1, 40), count=st.integers(1, 3))
def test_an_evaluation_computes_short_parts(rows: list[int], limit: int, count: int) -> None:
    seen: list[int] = []

    class Noting(NextToken):
        def loss_sum(self, model: GPT, batch: Batch) -> Any:
            seen.append(batch[0].size)
            return super().loss_sum(model, batch)

    model, batches = model_and_optimizer()[0], [random_batch(i, n) for i, n in enumerate(rows)]
    length = batches[0][0].shape[1]
    workers, plain = Threads(model, Noting(), count), Threads(model, NextToken(), 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "PART_TOKENS", {"cpu": limit, "cuda": 0})
        found = evaluate(workers, Validation(batches))
        patch.undo()
        assert found.loss == pytest.approx(evaluate(plain, Validation(batches)).loss, rel=1e-12)  # float64
    workers.close()
    plain.close()
    assert max(seen) <= max(limit, length)
    assert sum(seen) == length * sum(rows)
