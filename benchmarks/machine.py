"""The machine and the settings of a measurement: the options of all programs, and lines that describe the machine."""

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

from benchmarks.task import Device
from llm.parallel.runtime import threads_to_use
from minigrad.backend import pick_device

Blas = Literal["native", "pinned"]
PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclass(frozen=True)
class Settings:
    """Options that all benchmarks have."""

    blas: Blas = "native"
    """What chooses the kernels of OpenBLAS. native: OpenBLAS itself. pinned: OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE."""
    threads: int | None = None
    """How many cores to use. Default: all that are available."""
    rounds: int = 5
    """How many turns each library takes."""
    seconds: float = 0.5
    """The least duration of a turn. A call that takes longer is a turn of its own."""
    json: bool = False
    """Print a line of JSON for each measurement instead of a table."""

    def begin(self) -> int:
        """Restrict this process and its children to as many cores as there are threads; returns their number.

        So a library cannot use more. On systems without affinity nothing is restricted. Raises ValueError for settings
        that make no sense.
        """
        if self.rounds < 1:
            raise ValueError(f"--rounds must be at least 1, got {self.rounds}")
        threads = threads_to_use(self.threads)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        return threads


@dataclass(frozen=True)
class DeviceSettings(Settings):
    """Options of the benchmarks that also run on a GPU."""

    device: Device = "cpu"
    """cpu, or cuda: minigrad on CuPy and PyTorch on the same GPU. Memory is then that of the GPU."""

    def begin(self) -> int:
        """As above. Raises RuntimeError if the device is missing."""
        threads = super().begin()
        pick_device(self.device)
        return threads


def environment(blas: Blas, threads: int) -> dict[str, str]:
    """The environment variables of the competitors; with "native", without those that choose kernels of OpenBLAS."""
    variables = {name: value for name, value in os.environ.items() if blas == "pinned" or name not in PINS}
    return variables | {"OMP_NUM_THREADS": str(threads)}


def compiling(settings: Mapping[str, str], folder: str) -> dict[str, str]:
    """`settings` for processes that keep Python's compiled files in `folder`.

    From its second start on, each finds them there, as installed packages do.
    """
    variables = {name: value for name, value in settings.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return variables | {"PYTHONPYCACHEPREFIX": folder}


def run(main: Callable[[], None], name: str) -> None:
    """Call `main`. An error ends the program with its message instead of a traceback."""
    try:
        main()
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT


def describe(
    libraries: Iterable[Mapping[str, str]], settings: Mapping[str, str], threads: int, device: str = "cpu"
) -> list[str]:
    """The machine in readable lines. `libraries` (of each process) and `settings` are those of the competitors."""
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
    """The name of the processor, and its widest vector instructions."""
    try:
        lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, value in lines}
    flags = facts.get("flags", "").split()
    vectors = next((f" ({name})" for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    return facts.get("model name", platform.machine()) + vectors


def gpu() -> str:
    """The name of the GPU, and the version of its driver."""
    query = ["nvidia-smi", "--id=0", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True).stdout.strip().replace(", ", ", driver ")


def load() -> str:
    """The average number of processes that were ready to run in the last minute; a quiet machine has less than one."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
