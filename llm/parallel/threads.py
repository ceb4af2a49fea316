"""Workers that are threads of this process. They share the model and one gradient (shared_gradients.py).

Python code runs in one thread at a time, but NumPy and BLAS release the interpreter lock (GIL) while they compute. So
the threads do compute at the same time. Each of them lets BLAS use one thread. That is faster than one worker that lets
BLAS use several threads: this would divide only the matrix products, but here everything in a step is divided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llm.model.gpt import GPT
from llm.parallel.blas import limited_blas_threads
from llm.parallel.metrics import Metrics
from llm.parallel.objective import Objective
from llm.parallel.shared_gradients import SharedGradients
from llm.parallel.workers import WorkerBatch, Workers, compute_gradient


class Threads(Workers):
    """`count` threads. The calling thread is one of them."""

    kind = "threads"

    def __init__(self, model: GPT, objective: Objective, count: int):
        super().__init__(model, objective, count)
        self._pool = ThreadPoolExecutor(max(1, count - 1), thread_name_prefix="worker")

    def map(self, f: Callable[[int, Any], Any], items: Sequence) -> list:
        # Items 1, 2 ... go to the pool, and item 0 is computed here meanwhile.
        others = [self._pool.submit(f, rank, item) for rank, item in enumerate(items) if rank > 0]
        return [f(0, items[0]), *(other.result() for other in others)]

    def _accumulate(self, batches: Sequence[WorkerBatch]) -> float:
        gradients = self._shared_gradients(batches)

        def compute(rank: int, batch: WorkerBatch) -> tuple[float, Metrics]:
            try:
                return compute_gradient(self.model, self.objective, gradients, rank, batch)
            except BaseException:  # `backward` does the same, but the error may come before it, as from the loss
                gradients.abandon()
                raise

        losses, metrics = zip(*self.map(compute, batches), strict=True)
        for each in metrics:
            self.metrics.add(each)
        return sum(losses)

    def _shared_gradients(self, batches: Sequence[WorkerBatch]) -> SharedGradients:
        return SharedGradients(self.model.parameters(), len(batches))

    def close(self) -> None:
        self._pool.shutdown()


def map_in_threads(f: Callable[[Any], Any], items: Sequence, threads: int) -> Iterator[Any]:
    """`f(item)` of each item, in order, by so many threads at the same time. Each lets BLAS use one thread.

    So does what the caller does meanwhile. One thread is the caller's own, and BLAS is left as it is.
    """
    if threads == 1:
        yield from map(f, items)
        return
    with limited_blas_threads(1):
        pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        try:
            yield from pool.map(f, items)
        finally:  # after an error or Ctrl-C, or if the caller wants no more: what has not begun is not computed
            pool.shutdown(cancel_futures=True)
