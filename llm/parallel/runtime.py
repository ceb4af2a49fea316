"""The machine: its cores and memory. And settings that train.py and generate.py make before they work.

Importing this module changes no setting. benchmarks/RESULTS.md shows how much time each of them saves.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # where Linux tells the limits of a container
CGROUP_MEMORY = (  # files with the memory that a container may use, and that it uses: cgroup v2, then v1
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
MEMINFO = Path("/proc/meminfo")
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # from glibc's malloc.h
SWITCH_INTERVAL = 1e-4  # seconds
MOST_THREADS = 1 << 15  # BLAS takes a C int, and itself uses no more than some hundred threads
VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores() -> int:
    """Cores this process may use: the smaller one of its CPU affinity and the quota of its container, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _container_cores()))


def _container_cores() -> int:
    """The CPU quota of a container (cgroup v2, then v1), or a large number where there is none."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # ValueError: the quota is "max"
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return -(-int(quota) // int(period))
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((CGROUP / f"cpu/cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return -(-int(quota) // int(period)) if int(quota) > 0 else sys.maxsize  # -1: no quota
    return sys.maxsize


def threads_to_use(requested: int | None) -> int:
    """The number of threads requested; None: what the environment asks for, or all available cores.

    Ranks on the same machine get an equal share of its cores. Raises ValueError below 1.
    """
    if requested is not None and requested < 1:
        raise ValueError(f"--threads must be at least 1, got {requested}")
    return requested or threads_from_environment() or max(1, available_cores() // ranks_on_this_machine())


def ranks_on_this_machine() -> int:
    """How many processes mpiexec has started on this machine, if it has started this one; else 1."""
    values = (os.environ.get(name, "") for name in ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE"))
    return next((int(value) for value in values if value.isdecimal() and int(value) > 0), 1)


def threads_from_environment() -> int | None:
    """The number in the first of VARIABLES that has one, as OpenBLAS reads them; None if the user has set none."""
    for name in VARIABLES:
        value = os.environ.get(name, "").split(",")[0].strip()  # OMP_NUM_THREADS may be a list, for nested regions
        if value.isdecimal() and int(value) > 0:
            return int(value)
    return None


def memory() -> tuple[int, int] | None:
    """Bytes of memory that this process could use if it were alone, and bytes that are free now; None if not known.

    In a container with a limit of memory, both are at most what this limit leaves.
    """
    try:
        lines = MEMINFO.read_text().splitlines()
        info = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        total, free = info["MemTotal"], info["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError):
        return None
    for limit, usage in CGROUP_MEMORY:
        with contextlib.suppress(OSError, ValueError):  # ValueError: the limit is "max"
            limit_bytes, used = (int((CGROUP / name).read_text()) for name in (limit, usage))
            total, free = min(total, limit_bytes), min(free, max(0, limit_bytes - used))
    return total, free


def set_blas_threads(threads: int) -> None:
    """Let matrix products use this many threads."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(min(threads, MOST_THREADS))


def set_switch_interval() -> None:
    """Let a thread that waits for the interpreter lock have it after 0.1 ms, instead of Python's 5 ms.

    Workers need the lock often, and only for a short time.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed arrays, for the next step.

    By default glibc returns large arrays to the system. Then every step requests its memory again, and the system fills
    each page with zeros first, which takes time.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library; TypeError: Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)  # no array gets a mapping of its own, which would be unmapped when it is freed
        mallopt(M_TRIM_THRESHOLD, -1)  # never return the end of the heap
        mallopt(M_ARENA_MAX, 1)  # a single arena for all threads: only the first one observes the threshold


def return_freed_memory() -> None:
    """Give the memory of freed arrays back to the system, once. To be called after work that needed much memory."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # as above
        ctypes.CDLL(None).malloc_trim(0)
