"""A pipeline of real processes, started by mpiexec, computes what one process computes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.llm.mpi_jobs import MARKS, mpiexec

pytestmark = MARKS
CASES = [(2, "1f1b", 2), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(2, "gpipe", 1), (4, "1f1b", 1)])]


def run(ranks: int, *program: str) -> Any:
    """What rank 0 of a program has printed, as JSON."""
    result = mpiexec(ranks, "-m", *program)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(("ranks", "schedule", "chunks"), CASES)
def test_loss_and_gradients_are_those_of_one_process(ranks: int, schedule: str, chunks: int) -> None:
    found = run(ranks, "tests.llm.mpi_pipeline", schedule, str(chunks))
    # The sums are those of one process, in another order for gpipe: some units of 1e-16 of the largest.
    assert found["loss"] < 1e-12 and found["gradients"] < 1e-12
    assert found["all"] and found["spans"] == 2 * 4 * ranks * chunks
    assert 0 < found["bubble"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_each_stage_takes_the_memory_of_the_plan(ranks: int) -> None:
    # Python's objects and the arrays of single operations are not in the formula.
    for measured, predicted in run(ranks, "tests.llm.mpi_memory"):
        assert predicted == pytest.approx(measured, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("zero", range(3))
def test_each_data_rank_takes_the_memory_of_the_plan(zero: int) -> None:
    for measured, predicted in run(2, "tests.llm.mpi_memory", str(zero)):
        assert predicted == pytest.approx(measured, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_with_zero_3_the_fullest_rank_takes_the_memory_of_the_plan(ranks: int) -> None:
    measured, predicted = zip(*run(ranks, "tests.llm.mpi_memory", "3"))
    assert predicted[0] == pytest.approx(max(measured), rel=0.05)


@pytest.mark.control
@pytest.mark.slow
def test_the_memory_of_another_stage_is_another_one() -> None:
    (first, _), (_, of_last) = run(2, "tests.llm.mpi_memory")
    assert of_last != pytest.approx(first, rel=0.05)
