"""Jobs of several processes, started by mpiexec. None can hang: each has a limit of time."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
LIMIT = 60.0  # seconds


MARKS = [  # `pytestmark = MARKS` in a module
    pytest.mark.mpi,
    pytest.mark.skipif(
        MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py and mpiexec"
    ),
]


def command(ranks: int, *arguments: str) -> list[str]:
    return [str(MPIEXEC), "-n", str(ranks), sys.executable, *arguments]


def environment() -> dict[str, str]:
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **one_thread, "PYTHONPATH": str(ROOT)}


def mpiexec(ranks: int, *arguments: str, limit: float = LIMIT) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` in so many processes."""
    return subprocess.run(
        command(ranks, *arguments), capture_output=True, text=True, timeout=limit, env=environment(), cwd=ROOT
    )
