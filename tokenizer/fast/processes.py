"""A parallel map over processes. Python runs one thread at a time, but any number of processes.

A process is a fork: it has everything that its parent had, and starts in milliseconds. Where there is no fork, or other
threads are running (a fork gets copies of the locks that they hold, and these are never released), the work is done in
this process.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MIN_CHARACTERS = 4_000_000  # for each process: a tenth of a second of work, several times what starting one costs

_shared: tuple[Callable, Sequence] | None = None  # in a worker: the function and its arguments


def processes_for(characters: int) -> int:
    """The number of processes that encode this number of characters the fastest."""
    if characters < 2 * MIN_CHARACTERS:
        return 1
    import multiprocessing  # imported here because it takes longer than this whole package

    can_fork = "fork" in multiprocessing.get_all_start_methods()
    if not can_fork or threading.active_count() > 1 or multiprocessing.current_process().daemon:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, characters // MIN_CHARACTERS)


def parallel_map(function: Callable[[Item], Result], items: Sequence[Item], processes: int) -> list[Result]:
    """[function(item) for item in items], by several processes. Results are pickled; items and function are not."""
    if min(processes, len(items)) <= 1:
        return [function(item) for item in items]
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    fork = multiprocessing.get_context("fork")
    with warnings.catch_warnings():  # Python 3.12 and later warn of NumPy's idle threads
        warnings.simplefilter("ignore", DeprecationWarning)
        with ProcessPoolExecutor(processes, fork, initializer=_start_worker, initargs=(function, items)) as executor:
            return list(executor.map(_call, range(len(items))))


def _start_worker(*shared: Any) -> None:
    global _shared
    _shared = shared  # type: ignore[assignment]


def _call(i: int) -> Any:
    assert _shared is not None
    function, items = _shared
    return function(items[i])
