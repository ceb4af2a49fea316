"""A parallel map over processes, because Python runs the code of only one thread at a time.

The processes are forks: a fork has all objects of its parent, and starts in milliseconds. If the system has no fork,
or if other threads are running, all work is done in this process. (A fork gets copies of the locks that other threads
hold, and nothing ever releases these copies.)
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tokenizer.text.worker import follow_parent

Item = TypeVar("Item")
Result = TypeVar("Result")

MIN_CHARACTERS = 4_000_000  # of each process: a tenth of a second of work, several times the cost of starting it

# In a worker: the function and its arguments. A fork has them already, so they need not be pickled, only the index of
# the argument and the result.
_shared: tuple[Callable, Sequence] | None = None


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
    follow_parent()
    _shared = shared  # type: ignore[assignment]


def _call(i: int) -> Any:
    assert _shared is not None
    function, items = _shared
    return function(items[i])
