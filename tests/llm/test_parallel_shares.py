"""Ranks that have more rows than others: the gradient is still that of the whole batch in one process."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.llm.steps import assert_close, gradients, model_and_optimizer, random_batch, workers_of
from tests.llm.test_parallel_ranks import on_ranks


@given(ranks=st.integers(2, 3), rows=st.integers(3, 7))
def test_the_gradient_does_not_depend_on_the_number_of_ranks(ranks: int, rows: int) -> None:
    batch = random_batch(rows, rows)

    def gradient(workers: Any, optimizer: Any = None) -> dict:
        workers.accumulate(batch)
        return gradients(workers.model)

    with workers_of(model_and_optimizer()[0], 1) as workers:
        expected = gradient(workers)
    for found in on_ranks(ranks, gradient):
        assert_close(found, expected)
