"""Tasks that do not depend on each other, done by this process, by several, or by those of MPI on several machines."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from llm.data.errors import DataError
from llm.parallel.runtime import keep_freed_memory
from tokenizer.text.worker import follow_parent

Task = tuple[Any, ...]  # the arguments of a function
Run = Callable[[Callable[..., Any], Iterable[Task]], Iterator[Any]]  # results, in the order of the tasks


@contextmanager
def workers(count: int, *, mpi: bool = False) -> Iterator[Run]:
    """A function run(work, tasks) that calls work(*task) for each task, in `count` processes or in those of MPI.

    `work` must be a function of a module. A few tasks are made ahead, so many tasks need no more memory than few.
    """
    if count == 1 and not mpi:
        yield lambda work, tasks: (work(*task) for task in tasks)
        return
    executor = _mpi_executor() if mpi else _process_executor(count)
    ahead = 2 * (getattr(executor, "num_workers", 0) if mpi else count) or 2
    try:
        yield lambda work, tasks: _in_order(executor, work, tasks, ahead)
    except BrokenExecutor:
        raise DataError("a process has died, perhaps for want of memory; use fewer --processes and run again") from None
    finally:
        executor.shutdown(cancel_futures=True)


def _in_order(executor: Executor, work: Callable[..., Any], tasks: Iterable[Task], ahead: int) -> Iterator[Any]:
    waiting: deque[Future[Any]] = deque()
    for task in tasks:
        waiting.append(executor.submit(work, *task))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _process_executor(count: int) -> Executor:
    # "spawn": new processes. "fork" would copy this one while its other threads (those of tqdm, of BLAS) hold locks,
    # which nobody would release in the copy. It would also copy what this process has read so far.
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    follow_parent()
    keep_freed_memory()


def _mpi_executor() -> Any:
    try:
        from mpi4py.futures import MPIPoolExecutor
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no library of MPI
        raise DataError(
            f"--mpi needs mpi4py and MPI ({error}); try: pip install mpi4py mpich, and start with: "
            "mpiexec -n 8 python -m mpi4py.futures -m llm.data ... --mpi"
        ) from None
    return MPIPoolExecutor()
