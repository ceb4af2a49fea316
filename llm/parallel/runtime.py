"""Settings of the process that the scripts make before they work: BLAS threads and the C library's allocator.

Nothing here runs on import. Measured effects: DESIGN "Measured"; benchmarks repeat them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # from glibc's malloc.h


def available_cores() -> int:
    """Cores this process may use: the smaller of its CPU affinity and its control group's quota, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _cgroup_cores()))


def _cgroup_cores() -> int:
    """The CPU quota of a container (cgroup v2, then v1), or a large number where there is none."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # ValueError: "max"
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return -(-int(quota) // int(period))
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((CGROUP / f"cpu/cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return -(-int(quota) // int(period)) if int(quota) > 0 else sys.maxsize  # -1: no quota
    return sys.maxsize


def set_blas_threads(threads: int) -> None:
    """Let matrix products use this many threads."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)


def threads_to_use(wish: int | None) -> int:
    """The number of threads asked for; None: all cores available. Raises ValueError below 1."""
    if wish is not None and wish < 1:
        raise ValueError(f"--threads must be at least 1, got {wish}")
    return available_cores() if wish is None else wish


def set_switch_interval() -> None:
    """Let waiting threads have the interpreter lock after 0.1 ms, not 5: workers need it often and shortly."""
    sys.setswitchinterval(1e-4)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step, instead of handing large arrays back to the system and faulting
    them in again.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no mallopt, or (Windows) no library without a name
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
        mallopt(M_ARENA_MAX, 1)  # those of other threads would hand back what they have whole, whatever the threshold
