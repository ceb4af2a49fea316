"""Options of training: a value at its bound is taken, the next one beyond it is refused by the name of its option."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.runs.options import TrainOptions

AT_LEAST_ONE = [
    *("steps", "batch_size", "micro_batches", "eval_every", "eval_batches", "eval_task_items", "checkpoint_every"),
    "threads",
]
AT_LEAST_ZERO = ["lr", "min_lr", "warmup", "weight_decay", "clip", "sample_every", "seed"]


@pytest.mark.parametrize(("name", "bound"), [*((n, 1) for n in AT_LEAST_ONE), *((n, 0) for n in AT_LEAST_ZERO)])
@given(above=st.integers(0, 3), below=st.integers(1, 3))
def test_a_count_is_taken_from_its_bound_on(name: str, bound: int, above: int, below: int) -> None:
    assert getattr(TrainOptions(**{"batch_size": 8, name: bound + above}), name) == bound + above
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} must be .*at least {bound}, got {bound - below}"):
        TrainOptions(**{name: bound - below})


@pytest.mark.parametrize("name", sorted({*AT_LEAST_ONE, *AT_LEAST_ZERO} - {"seed"}))
@given(excess=st.integers(0, 10**30))
def test_a_number_that_no_array_can_hold_is_refused(name: str, excess: int) -> None:
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} is too large"):
        TrainOptions(**{name: 2**63 + excess})
    assert TrainOptions(seed=2**63 + excess).seed == 2**63 + excess


@pytest.mark.parametrize("name", AT_LEAST_ZERO)
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_number_is_finite(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')}"):
        TrainOptions(**{name: value})


@given(st.integers(1, 5), st.integers(0, 4))
def test_a_batch_has_as_many_parts_as_rows_and_not_more(rows: int, more: int) -> None:
    assert TrainOptions(batch_size=rows, micro_batches=rows).micro_batches == rows
    with pytest.raises(ValueError, match=f"--micro-batches {rows + 1 + more} is more than --batch-size {rows}"):
        TrainOptions(batch_size=rows, micro_batches=rows + 1 + more)


@pytest.mark.parametrize(
    ("name", "good", "bad"), [("val_fraction", [1e-9, 0.999], [0.0, 1.0, -1, 2]), ("beta2", [0.0, 0.999], [1.0, -0.1])]
)
def test_a_fraction_has_bounds_of_its_own(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert getattr(TrainOptions(**{name: value}), name) == value
    for value in bad:
        with pytest.raises(ValueError, match=f"--{name.replace('_', '-')}"):
            TrainOptions(**{name: value})
