"""A competitor: a library that does one kind of work, in a process of its own.

The parent starts `python -m benchmarks.competitor MODULE:FUNCTION [FOLDER]` and exchanges lines of JSON with it:

    child:   {"ready": {"torch": "2.13.0"}}                 or {"skip": "torch is not installed"}, and ends
    parent:  {"calls": 3, "warm_up": 1}
    child:   {"results": [{"seconds": 0.9, "loss": 4.1}, ...], "peak": 812000000}

FUNCTION(task), or FUNCTION() without a folder, prepares the work and returns a function without arguments. Each call
of that does the work once and returns measurements by name. "seconds", the time of the call, is added if the function
does not measure it itself. The child ends when its input does.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from benchmarks.task import Task

ROOT = Path(__file__).parents[1]
LIBRARIES = ["numpy", "torch", "transformers", "lm_eval", "jax", "autograd", "micrograd"]
Work = Callable[[], dict[str, float]]  # does the work once, returns measurements by name


class Skipped(RuntimeError):
    """A competitor that cannot take part; the message is a sentence."""


class Competitor:
    """The competitor as its parent sees it. `function`: "module:function" in benchmarks.peers.

    The process starts and prepares at once; `ready` waits until it has.
    """

    def __init__(self, name: str, function: str, folder: Path | None, environment: Mapping[str, str]):
        self.name, self.peak = name, 0
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115    not a pipe: a full one would block the process
        command = [sys.executable, "-m", "benchmarks.competitor", function, *([str(folder)] if folder else [])]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)
        self.libraries: dict[str, str] = {}

    def ready(self) -> None:
        """Wait until it is ready. Raises Skipped if its library is missing."""
        answer = self._answer()
        if "skip" in answer:
            raise Skipped(answer["skip"])
        self.libraries = answer["ready"]

    def measure(self, calls: int, warm_up: int = 0) -> list[dict[str, float]]:
        """The measurements of `calls` calls, after `warm_up` calls that are not measured."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the process has ended, and `_answer` says why
            self.process.stdin.write(json.dumps({"calls": calls, "warm_up": warm_up}) + "\n")
            self.process.stdin.flush()
        answer = self._answer()
        self.peak = answer["peak"]
        return answer["results"]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        status = self.process.wait()
        self.errors.seek(0)
        last = self.errors.read().decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{self.name} ended with status {status}: {' '.join(last) or 'no message'}")


def serve(function: str, folders: list[str], orders: IO[str], answers: IO[str]) -> None:
    """The work of the child: prepare, then measure when the parent asks for it."""

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    module, name = function.split(":")
    try:
        prepare = getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)
        work: Work = prepare(*(Task.read(Path(folder)) for folder in folders))
    except ModuleNotFoundError as error:
        return answer(skip=f"{error.name} is not installed; try: pip install {error.name}")
    answer(ready=libraries())
    for line in orders:
        order = json.loads(line)
        for _ in range(order["warm_up"]):
            work()
        answer(results=[timed(work) for _ in range(order["calls"])], peak=gpu_memory() or peak_memory())


def timed(work: Work) -> dict[str, float]:
    began = time.perf_counter()
    measured = work()
    return {"seconds": time.perf_counter() - began} | measured


def libraries() -> dict[str, str]:
    """The versions of the numerical libraries in this process, and the kernels that OpenBLAS has chosen."""
    found: dict[str, str] = {name: version(name) for name in LIBRARIES if name in sys.modules}
    if "cupy" in sys.modules:  # its package has another name for each version of CUDA
        found["cupy"] = sys.modules["cupy"].__version__
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_info

        for pool in threadpool_info():
            if pool["internal_api"] == "openblas":
                found["OpenBLAS"] = f"{pool['version']} {pool['architecture']}"
    return found


def gpu_memory() -> int:
    """Bytes that the library of this process has allocated on the GPU.

    CuPy and PyTorch do not give memory back, so this is also the peak.
    """
    if "cupy" in sys.modules:
        return sys.modules["cupy"].get_default_memory_pool().total_bytes()
    return sys.modules["torch"].cuda.memory_reserved() if "torch" in sys.modules else 0


def peak_memory() -> int:
    """Peak memory of this process, plus the memory that its children do not share with it, in bytes.

    Of the children the present memory counts, because their peak is known only with what they share. Ours give no
    memory back.
    """
    return own_peak() + sum(private_memory(child.pid) for child in multiprocessing.active_children())


def private_memory(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.MULTILINE)) * 1024


def own_peak() -> int:
    """Peak memory of this process, in bytes.

    On Linux from /proc: the peak that getrusage reports can be that of the parent, from before the child was started.
    """
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr
    serve(sys.argv[1], sys.argv[2:], sys.stdin, answers)
