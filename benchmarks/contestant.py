"""A contestant: a library that does a piece of work when told to, in a process of its own.

The parent starts `python -m benchmarks.contestant MODULE:FUNCTION [FOLDER]` and they exchange lines of JSON over pipes:

    child:   {"ready": {"torch": "2.13.0"}}                 or {"skip": "torch is not installed"}, and ends
    parent:  {"calls": 3, "warm_up": 1}
    child:   {"results": [{"seconds": 0.9, "loss": 4.1}, ...], "peak": 812000000}

FUNCTION(task), or FUNCTION() where there is no folder, prepares and returns the piece of work: a function without
arguments that returns measurements by name. "seconds", the time of the call, is added unless it is among them. The
child ends when its input does.
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
LIBRARIES = ["numpy", "torch", "jax", "autograd", "micrograd"]
Work = Callable[[], dict[str, float]]


class Skipped(RuntimeError):
    """A contestant that cannot take part; the message is a sentence."""


class Contestant:
    """The parent's side. `function`: "module:function" in benchmarks.peers. It prepares at once; `ready` waits for
    it.
    """

    def __init__(self, name: str, function: str, folder: Path | None, environment: Mapping[str, str]):
        self.name, self.peak = name, 0
        self.complaints = tempfile.TemporaryFile()  # noqa: SIM115    a pipe that nobody reads could block it
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contestant", function, *([str(folder)] if folder else [])],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            text=True,
        )
        self.libraries: dict[str, str] = {}

    def ready(self) -> None:
        """Wait until it is. Raises Skipped when its library is missing."""
        answer = self._answer()
        if "skip" in answer:
            raise Skipped(answer["skip"])
        self.libraries = answer["ready"]

    def turn(self, calls: int, warm_up: int = 0) -> list[dict[str, float]]:
        """The measurements of so many calls, after some that are not measured."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: the answer tells
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
        self.complaints.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        status = self.process.wait()
        self.complaints.seek(0)
        last = self.complaints.read().decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{self.name} ended with status {status}: {' '.join(last) or 'it said nothing'}")


def serve(function: str, folders: list[str], orders: IO[str], answers: IO[str]) -> None:
    """The child's side."""

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
    """The libraries with arithmetic in them that this process uses, with their versions and what OpenBLAS has
    chosen.
    """
    found: dict[str, str] = {name: version(name) for name in LIBRARIES if name in sys.modules}
    if "cupy" in sys.modules:  # whose package has a name for each version of CUDA
        found["cupy"] = sys.modules["cupy"].__version__
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_info

        for pool in threadpool_info():
            if pool["internal_api"] == "openblas":
                found["OpenBLAS"] = f"{pool['version']} {pool['architecture']}"
    return found


def gpu_memory() -> int:
    """What the library of this process has taken of the GPU's memory, in bytes: as much as it ever used at once, for
    neither gives back.
    """
    if "cupy" in sys.modules:
        return sys.modules["cupy"].get_default_memory_pool().total_bytes()
    return sys.modules["torch"].cuda.memory_reserved() if "torch" in sys.modules else 0


def peak_memory() -> int:
    """The most memory that this process has had, and what its children have of their own now, in bytes. (Their peak is
    not known without what they share with it; ours give nothing back.)
    """
    return own_peak() + sum(private_memory(child.pid) for child in multiprocessing.active_children())


def private_memory(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.MULTILINE)) * 1024


def own_peak() -> int:
    """The most memory that this process has had, in bytes.

    Linux keeps it by process image; what getrusage tells there includes the parent's before the child took over.
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
    os.dup2(2, 1)  # what libraries print goes where complaints go
    serve(sys.argv[1], sys.argv[2:], sys.stdin, answers)
