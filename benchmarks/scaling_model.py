"""A model of a training step on more cores, made from measurements on one thread.

With W = min(cores, B) workers for a batch of B rows, a step takes the sum of five terms. All but the first are losses.

    split     T / cores
    rows      A (ceil(B / W) / B - 1 / cores)
    lock      P' + waiting - P / cores; with processes instead of threads P - P / cores
    sums      12 bytes (W - 1) max(N / min(W M, memory), n / M)
    update    max(U / W, 32 bytes N / memory) - U / cores

    T    seconds of the step on one thread; "split" divides them perfectly
    A    the arithmetic in it, T - P - U. Rows cannot be divided, so all wait for the worker with the most of them
    P    Python in it, which holds the interpreter lock; P' is P when threads hand the lock to each other. Each worker
         executes all of it, for fewer rows, and they wait for each other (`with_lock`). Small models are trained by
         processes, each with a lock of its own
    U    clipping and AdamW, which are divided until the memory is the limit
    N    the number of parameters, n that of the largest one. The gradients of the workers are added up; those of one
         parameter one by one. An addition reads a gradient, and reads and writes the sum
    M    the bytes that a core reads in a second

T, P, P', U and M are measured in one run. P is the step of a skeleton: a model with as many layers, parameters and
blocks of attention, but hardly any arithmetic, with one row and with two, extrapolated to none. P' is half of its step
on two threads. The memory speed of the larger machine is assumed.

The model leaves out that clocks slow down when all cores work, and that cores share caches. The measurements on the
cores that this machine has, which are shown beside the model, tell how much that is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

CORES = 8, 64  # of the machines that the model is asked about
# Bytes for each parameter: to add a gradient; to clip (4) and update (28: read p, g, m, v, write p, m, v).
ADDED, UPDATED = 12, 32
REMEDIES = {
    "rows": "a larger batch",
    "lock": "Python without the lock, or more arithmetic per operation",
    "sums": "adding in a tree",
    "update": "faster memory",
}


@dataclass(frozen=True)
class Model:
    """Measurements on one thread with a batch of `batch` rows, in seconds; the letters are explained above."""

    batch: int
    step: float  # T
    python: float  # P
    python_in_turns: float  # P'
    update: float  # U
    count: int  # N
    largest: int  # n
    core: float  # M
    memory: float  # bytes per second of all cores
    threads: bool = True  # workers are threads, not processes

    @property
    def arithmetic(self) -> float:
        return self.step - self.python - self.update

    def of_batch(self, batch: int) -> Model:
        """Another number of rows, with the same arithmetic for each."""
        return replace(self, batch=batch, step=self.python + self.update + self.arithmetic * batch / self.batch)

    def terms(self, cores: int) -> dict[str, float]:
        """The terms in seconds; their sum is the step."""
        workers = min(cores, self.batch)
        free = self.arithmetic * math.ceil(self.batch / workers) / self.batch
        adding = max(self.count / min(workers * self.core, self.memory), self.largest / self.core)
        return {
            "split": self.step / cores,
            "rows": free - self.arithmetic / cores,
            "lock": (self._by_threads(workers, free) if self.threads else self.python) - self.python / cores,
            "sums": ADDED * (workers - 1) * adding,
            "update": max(self.update / workers, UPDATED * self.count / self.memory) - self.update / cores,
        }

    def _by_threads(self, workers: int, free: float) -> float:
        """Python, and the waiting for the lock."""
        return with_lock(workers, self.python_in_turns if workers > 1 else self.python, free) - free

    def seconds(self, cores: int) -> float:
        return sum(self.terms(cores).values())


def with_lock(workers: int, held: float, free: float) -> float:
    """Seconds until each worker has held the lock for `held` and worked without it for `free`, in many short intervals.

    Mean value analysis (Reiser and Lavenberg 1980): a worker that asks for the lock meets the queue that the other
    workers would have on average without it.
    """
    queue, in_queue = 0.0, held  # workers that hold the lock or wait for it; seconds that a worker spends so
    for n in range(1, workers + 1):
        in_queue = held * (1 + queue)
        queue = n * in_queue / (in_queue + free)
    return in_queue + free


def predict(model: Model, cores: int) -> dict[str, Any]:
    """A step on `cores` cores, and the term in which most is lost."""
    terms, seconds = model.terms(cores), model.seconds(cores)
    stopped_by = max((name for name in terms if name != "split"), key=lambda name: terms[name])
    return {
        "cores": cores,
        "batch": model.batch,
        "seconds": seconds,
        "speedup": model.step / seconds,
        "terms": terms,
        "stopped_by": stopped_by if cores > 1 else "",
    }


def fastest(model: Model) -> dict[str, Any]:
    """The step on as many cores as help, and the term in which most is lost on the largest machine."""
    cores = range(1, max(CORES) + 1)
    least = min(map(model.seconds, cores))
    enough = next(n for n in cores if model.seconds(n) <= least * (1 + 1e-9))  # leaves room for rounding
    return predict(model, enough) | {"stopped_by": predict(model, max(CORES))["stopped_by"]}
