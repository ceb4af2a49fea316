"""The machine that is measured, and its environment: what a table of times is worth nothing without."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llm.parallel.runtime import threads_to_use

Blas = Literal["native", "pinned"]
PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclass(frozen=True)
class Settings:
    """Options of every benchmark."""

    blas: Blas = "native"
    """native: OpenBLAS chooses its kernels. pinned: as OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE in the environment
    say.
    """
    threads: int | None = None
    """Cores used. Default: all that are available."""
    rounds: int = 5
    """How often everybody takes a turn."""
    seconds: float = 0.5
    """The least time of a turn; what takes longer has turns of one."""
    json: bool = False
    """Print a line of JSON for each measurement instead of a table."""

    def begin(self) -> int:
        """The number of threads. This process and its children get as many cores, whatever a library believes there
        are, where the system can do that. Raises ValueError for settings that make no sense.
        """
        if self.rounds < 1:
            raise ValueError(f"--rounds must be at least 1, got {self.rounds}")
        threads = threads_to_use(self.threads)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        return threads


def environment(blas: Blas, threads: int) -> dict[str, str]:
    """What contestants are started with: native has OpenBLAS choose its kernels, pinned leaves it as the environment
    says.
    """
    kept = {name: value for name, value in os.environ.items() if blas == "pinned" or name not in PINS}
    return kept | {"OMP_NUM_THREADS": str(threads)}


def compiling(settings: Mapping[str, str], folder: str) -> dict[str, str]:
    """`settings` for processes that leave Python's compiled files in `folder`: from its second start on, everybody
    finds its own, as what is installed does.
    """
    kept = {name: value for name, value in settings.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": folder}


def run(main: Callable[[], None], name: str) -> None:
    """Call `main`, and end with a sentence where it does with an error."""
    try:
        main()
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT


def describe(
    libraries: Iterable[Mapping[str, str]], settings: Mapping[str, str], threads: int, device: str = "cpu"
) -> list[str]:
    """Lines for people; `libraries` (of each process) and `settings` are those of the contestants."""
    versions = sorted({(name, number) for each in libraries for name, number in each.items()})
    pins = " ".join(f"{name}={settings[name]}" for name in PINS if name in settings)
    return [
        f"date       {datetime.date.today()}",
        f"processor  {processor()}, {os.cpu_count()} cores, {threads} threads used; load at the end {load()}",
        *([] if device == "cpu" else [f"GPU        {gpu()}"]),
        f"system     {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        f"libraries  {', '.join(f'{name} {number}' for name, number in versions)}",
        f"BLAS       {'pinned by ' + pins if pins else 'native: OpenBLAS chooses its kernels'}",
    ]


def processor() -> str:
    """Its name, and the widest vectors it has."""
    try:
        lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, value in lines}
    flags = facts.get("flags", "").split()
    vectors = next((f" ({name})" for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    return facts.get("model name", platform.machine()) + vectors


def gpu() -> str:
    """Its name, and the version of its driver."""
    query = ["nvidia-smi", "--id=0", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True).stdout.strip().replace(", ", ", driver ")


def load() -> str:
    """Processes that wanted to run in the last minute, on average: a quiet machine has less than one."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
