"""Settings of the process that train.py and generate.py make before they work: cores, BLAS threads, memory.

Importing this module changes no setting. benchmarks/RESULTS.md shows how much time each of them saves.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # where Linux tells the limits of a container
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # from glibc's malloc.h
SWITCH_INTERVAL = 1e-4  # seconds


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
    """The number of threads requested; None: all available cores. Raises ValueError below 1."""
    if requested is not None and requested < 1:
        raise ValueError(f"--threads must be at least 1, got {requested}")
    return available_cores() if requested is None else requested


def set_blas_threads(threads: int) -> None:
    """Let matrix products use this many threads."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)


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
    """Give the memory of freed arrays back to the system, once: when work is done that needed much of it."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # as above
        ctypes.CDLL(None).malloc_trim(0)
