"""The machine that is measured, and its environment: what a table of times is worth nothing without."""
from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

Blas = Literal["native", "pinned"]
PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def environment(blas: Blas, threads: int) -> dict[str, str]:
    """What contestants are started with: native has OpenBLAS choose its kernels, pinned leaves it as the environment says."""
    kept = {name: value for name, value in os.environ.items() if blas == "pinned" or name not in PINS}
    return kept | {"OMP_NUM_THREADS": str(threads)}


def use_cores(threads: int) -> None:
    """Let this process and its children have this many cores, whatever a library believes there are, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def describe(libraries: Iterable[Mapping[str, str]], settings: Mapping[str, str], threads: int) -> list[str]:
    """Lines for people; `libraries` (of each process) and `settings` are those of the contestants."""
    versions = sorted({(name, number) for each in libraries for name, number in each.items()})
    pins = " ".join(f"{name}={settings[name]}" for name in PINS if name in settings)
    return [
        f"date       {datetime.date.today()}",
        f"processor  {processor()}, {os.cpu_count()} cores, {threads} threads used; load at the end {load()}",
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


def load() -> str:
    """Processes that wanted to run in the last minute, on average: a quiet machine has less than one."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
