"""Work shared among processes, where that pays: Python runs one thread at a time, but as many processes as one likes.

A process is a fork, which has everything that its parent had and starts in milliseconds. Where there is no fork, or
other threads run (of the locks that they hold, a fork gets copies that nobody will ever open), the work is done here.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WORTHWHILE = 4_000_000  # characters for each process: a tenth of a second of work, some times what a process costs

_shared: tuple[Callable, Sequence] | None = None  # in a worker: what to do, and to what


def worthwhile(characters: int) -> int:
    """How many processes are to share the encoding of so many characters."""
    if characters < 2 * WORTHWHILE:
        return 1
    import multiprocessing  # here, as it takes longer to import than all of this package

    if (
        "fork" not in multiprocessing.get_all_start_methods()
        or threading.active_count() > 1
        or multiprocessing.current_process().daemon
    ):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, characters // WORTHWHILE)


def share(function: Callable[[Item], Result], items: Sequence[Item], processes: int) -> list[Result]:
    """[function(item) for item in items], by so many processes. Results are pickled, items and function are not."""
    if min(processes, len(items)) <= 1:
        return [function(item) for item in items]
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    fork = multiprocessing.get_context("fork")
    with warnings.catch_warnings():  # of threads, which Python 3.12 and later see in NumPy's idle ones
        warnings.simplefilter("ignore", DeprecationWarning)
        with ProcessPoolExecutor(processes, fork, initializer=_begin, initargs=(function, items)) as executor:
            return list(executor.map(_do, range(len(items))))


def _begin(*shared: Any) -> None:
    global _shared
    _shared = shared  # type: ignore[assignment]


def _do(i: int) -> Any:
    assert _shared is not None
    function, items = _shared
    return function(items[i])
