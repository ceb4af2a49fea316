"""Real processes under mpiexec: they do what threads do, and if one fails, all end with a sentence."""

from __future__ import annotations

import pickle
import re
import time
from pathlib import Path

import numpy as np
import pytest

from llm.parallel.communicators.threads import run_ranks
from tests.llm.mpi_jobs import MARKS, mpiexec
from tests.llm.talking import talk

pytestmark = MARKS
FOLDER = Path(__file__).parent
SOON = 15.0  # seconds: a job of three processes begins and ends within two, on a machine that does nothing else


def test_processes_and_threads_communicate_alike(tmp_path: Path) -> None:
    result = mpiexec(3, str(FOLDER / "talking.py"), str(tmp_path))
    assert result.returncode == 0, result.stderr
    for rank, expected in enumerate(run_ranks(3, talk)):
        found = pickle.loads((tmp_path / str(rank)).read_bytes())
        assert len(found) == len(expected) > 10
        for a, b in zip(found, expected):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("how", "rank", "sentence"),
    [
        ("raise", 1, r"failing.py: the disk is on fire \(rank 1 of 3\)"),
        ("raise", -1, r"failing.py: the disk is on fire \(rank 0 of 3\)"),
        ("exit", 2, r"failing.py: a rank has ended with exit status 3, before all were ready \(rank 2 of 3\)"),
        ("kill", 0, r"failing.py: rank 0 of 3 \(process \d+\) was killed or has crashed, .*"),
        pytest.param("_exit", 1, r"failing.py: rank 1 of 3 \(process \d+\) was killed .*", marks=pytest.mark.slow),
        pytest.param("kill", 2, r"failing.py: rank 2 of 3 \(process \d+\) was killed .*", marks=pytest.mark.slow),
        ("hang", 1, r"failing.py: rank [02] has waited 1 seconds for rank 1 \(rank [02] of 3\)"),
    ],
)
def test_if_a_rank_fails_all_end_with_one_sentence(how: str, rank: int, sentence: str) -> None:
    began = time.monotonic()
    result = mpiexec(3, str(FOLDER / "failing.py"), how, str(rank))
    assert time.monotonic() - began < SOON
    assert result.returncode != 0
    ours = [line for line in result.stderr.splitlines() if "failing.py" in line]
    assert len(ours) == 1 and re.fullmatch(sentence, ours[0]), result.stderr


def test_a_mistake_in_the_program_is_shown_with_its_traceback() -> None:
    result = mpiexec(2, str(FOLDER / "failing.py"), "bug", "1")
    assert result.stderr.startswith("Traceback") and result.stderr.endswith("failing.py: KeyError: 'x' (rank 1 of 2)\n")


@pytest.mark.control
def test_without_a_failure_the_job_ends_without_a_word() -> None:
    result = mpiexec(3, str(FOLDER / "failing.py"), "not", "0")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
