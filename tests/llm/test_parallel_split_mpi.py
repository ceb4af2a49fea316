"""Split models on real processes, started by mpiexec, compute what one process computes."""

from __future__ import annotations

import json

import pytest

from tests.llm.mpi_jobs import MARKS, mpiexec

pytestmark = MARKS


@pytest.mark.parametrize("ranks", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 8))])
def test_tensor_sequence_expert_and_context_parallelism(ranks: int) -> None:
    result = mpiexec(ranks, "-m", "tests.llm.mpi_split")
    assert result.returncode == 0, result.stderr
    errors = json.loads(result.stdout)
    assert errors.keys() == {"tensor plain", "sequence plain", "context plain", "tensor mixture"}
    assert max(errors.values()) < 1e-12, errors  # sums in another order
