"""How many cores there are, and the settings of the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from llm.parallel import runtime


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 cores, whose control group sets no limit yet."""
    monkeypatch.setattr(runtime, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    for name in runtime.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 64),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("5000 100000", 1),
        ("9900000 100000", 64),
        ("", 64),
        ("0 0", 64),
    ],
)
def test_a_quota_of_a_control_group(cgroup: Path, quota: str, cores: int) -> None:
    (cgroup / "cpu.max").write_text(quota + "\n")
    assert runtime.available_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 64), ("300000", 3), ("1000", 1)])
def test_a_quota_of_the_older_kind(cgroup: Path, quota: str, cores: int) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu/cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu/cpu.cfs_period_us").write_text("100000")
    assert runtime.available_cores() == cores


def test_affinity(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.available_cores() == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 9})
    assert runtime.available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert runtime.available_cores() == 1


def test_threads_to_use(cgroup: Path) -> None:
    assert runtime.threads_to_use(None) == 64
    assert runtime.threads_to_use(5) == 5
    with pytest.raises(ValueError, match="--threads must be at least 1, got 0"):
        runtime.threads_to_use(0)


@pytest.mark.parametrize(("ranks", "threads"), [("4", 16), ("100", 1)])
def test_ranks_on_a_machine_share_its_cores(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch, ranks: str, threads: int
) -> None:
    monkeypatch.setenv("MPI_LOCALNRANKS", ranks)
    assert runtime.threads_to_use(None) == threads


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.skipif(
    not blas_threads() or os.cpu_count() == 1, reason="NumPy's matrix products here have no threads to set"
)
def test_set_blas_threads() -> None:
    before = max(blas_threads())
    for threads in (1, 2):
        runtime.set_blas_threads(threads)
        assert set(blas_threads()) == {threads}
    runtime.set_blas_threads(10**30)  # more than a C int can hold
    assert min(blas_threads()) > 1
    runtime.set_blas_threads(before)


def test_settings_of_the_process() -> None:
    before = sys.getswitchinterval()
    runtime.set_switch_interval()
    assert sys.getswitchinterval() == pytest.approx(1e-4)
    sys.setswitchinterval(before)


def test_a_system_without_mallopt(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (OSError, AttributeError, TypeError):

        def missing(name: None, error: type[Exception] = error) -> None:
            raise error

        monkeypatch.setattr(runtime.ctypes, "CDLL", missing)
        runtime.keep_freed_memory()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_that_was_freed_is_kept_for_the_next_step_until_it_is_returned() -> None:
    program = """if True:
        from pathlib import Path
        import numpy as np
        from llm.parallel.runtime import keep_freed_memory, return_freed_memory

        def megabytes():
            return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) // 1024

        keep_freed_memory()
        before = megabytes()
        arrays = [np.ones(1 << 17) for _ in range(100)]  # 1 MB each
        last = np.ones(1000)  # stands behind them, so that the heap cannot simply become shorter
        del arrays
        kept = megabytes()
        return_freed_memory()
        print(kept - before, megabytes() - before)
    """
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    kept, returned = map(int, result.stdout.split())
    assert kept >= 90, "or there is nothing to return"
    assert returned <= 20


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OPENBLAS_NUM_THREADS": "5", "OMP_NUM_THREADS": "3"}, 5),
        ({"OPENBLAS_NUM_THREADS": "0", "OMP_NUM_THREADS": "many"}, 64),
        ({"OPENBLAS_NUM_THREADS": "", "MKL_NUM_THREADS": "2"}, 2),
    ],
)
def test_variables_of_the_user_count_where_threads_are_not_given(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], threads: int
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert runtime.threads_to_use(None) == threads
    assert runtime.threads_to_use(7) == 7


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (4000 << 10, 3000 << 10)),
        ({"memory.max": "max", "memory.current": "5"}, (4000 << 10, 3000 << 10)),
        ({"memory.max": "1000000", "memory.current": "400000"}, (1000000, 600000)),
        ({"memory.max": "1000000", "memory.current": "2000000"}, (1000000, 0)),
        (
            {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "5"},
            (4000 << 10, 3000 << 10),
        ),
        ({"memory/memory.limit_in_bytes": "1000000", "memory/memory.usage_in_bytes": "1"}, (1000000, 999999)),
    ],
)
def test_memory_is_that_of_the_machine_or_of_its_container(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: tuple[int, int]
) -> None:
    (cgroup / "meminfo").write_text("MemTotal:        4000 kB\nMemFree: 1 kB\nMemAvailable:  3000 kB\nHugePages: 0\n")
    monkeypatch.setattr(runtime, "MEMINFO", cgroup / "meminfo")
    for name, text in files.items():
        (cgroup / name).parent.mkdir(exist_ok=True)
        (cgroup / name).write_text(text + "\n")
    assert runtime.memory() == expected
    monkeypatch.setattr(runtime, "MEMINFO", cgroup / "missing")
    assert runtime.memory() is None
