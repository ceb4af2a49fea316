"""What a training step would take on more cores, from what one thread takes.

With W = min(cores, B) workers for a batch of B rows, a step takes the sum of these; all but the first is lost.

    split     T / cores                                     T: the step on one thread, divided perfectly
    rows      A (ceil(B / W) / B - 1 / cores)               A: arithmetic. Rows are whole: all wait for the worker with the most
    lock      P' + waiting - P / cores                      P: Python, under the interpreter lock; P' where threads hand it to each other.
                                                            Each worker does all of it, for fewer rows: W P' in turn
                                                            (with_lock). Small models have processes, each with a lock
                                                            of its own: P - P / cores
    sums      12 bytes (W - 1) max(N / min(W M, memory), n / M)     N: parameters; n: of the largest, whose shares are added one by
                                                            one; M: bytes a second of a core. A share is read, the sum
                                                            read and written
    update    max(U / W, 32 bytes N / memory) - U / cores   U: clipping and AdamW, divided until memory gives no more

T, P, P', U and M are measured in one run, and A = T - P - U. P is the step of a skeleton with as many layers,
parameters and blocks of attention, but next to nothing in them, with one row and with two, carried on to none; P' is
half of its step by two threads. The memory of the larger machine is assumed. Left out: clocks that slow down when all
cores work, and caches that they share. How much is left out tells the measurement on the cores that there are, beside
the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

CORES = 8, 64  # of the machines that are modelled
ADDED, UPDATED = 12, 32  # bytes a parameter: to add a share; to clip (4) and update (reads p, g, m, v, writes p, m, v)
WAY_OUT = {
    "rows": "a larger batch",
    "lock": "Python without the lock, or more arithmetic an operation",
    "sums": "adding up in a tree",
    "update": "faster memory",
}


@dataclass(frozen=True)
class Model:
    """What one thread takes, in seconds, for a batch of `batch` rows; the letters are those above."""

    batch: int
    step: float  # T
    held: float  # P
    handed: float  # P'
    update: float  # U
    count: int  # N
    largest: int  # n
    core: float  # M
    memory: float  # bytes a second, of all cores
    threads: bool = True  # or processes

    @property
    def arithmetic(self) -> float:
        return self.step - self.held - self.update

    def of_batch(self, batch: int) -> Model:
        """Other rows, the same arithmetic for each."""
        return replace(self, batch=batch, step=self.held + self.update + self.arithmetic * batch / self.batch)

    def terms(self, cores: int) -> dict[str, float]:
        """Seconds that add up to a step; all but the first are lost."""
        workers = min(cores, self.batch)
        free = self.arithmetic * math.ceil(self.batch / workers) / self.batch
        adding = max(self.count / min(workers * self.core, self.memory), self.largest / self.core)
        return {
            "split": self.step / cores,
            "rows": free - self.arithmetic / cores,
            "lock": (self._by_threads(workers, free) if self.threads else self.held) - self.held / cores,
            "sums": ADDED * (workers - 1) * adding,
            "update": max(self.update / workers, UPDATED * self.count / self.memory) - self.update / cores,
        }

    def _by_threads(self, workers: int, free: float) -> float:
        """Python, and waiting for the lock."""
        return with_lock(workers, self.handed if workers > 1 else self.held, free) - free

    def seconds(self, cores: int) -> float:
        return sum(self.terms(cores).values())


def with_lock(workers: int, held: float, free: float) -> float:
    """Seconds until each worker has held the lock for `held` and worked for `free` without it, both in many short
    pieces.

    Mean value analysis (Reiser and Lavenberg 1980): who asks for the lock finds as many there as are on average when he
    is away.
    """
    waiting, turn = 0.0, held
    for present in range(1, workers + 1):
        turn = held * (1 + waiting)
        waiting = present * turn / (turn + free)
    return turn + free


def predict(model: Model, cores: int) -> dict[str, Any]:
    """A step on so many cores, and by what most of what is lost is lost."""
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
    """The number of cores, of those modelled, beyond which a step is no faster; and what would be lost most with all of
    them.
    """
    cores = range(1, max(CORES) + 1)
    least = min(map(model.seconds, cores))
    enough = next(n for n in cores if model.seconds(n) <= least * (1 + 1e-9))  # rounding
    return predict(model, enough) | {"stopped_by": predict(model, max(CORES))["stopped_by"]}
