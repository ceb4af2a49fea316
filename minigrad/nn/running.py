"""Which module is computing now in this thread. Error messages and the profiler name it.

Modules report it only while an op hook is set (modes.py): without one, a call of a module costs nothing extra.
"""

from __future__ import annotations

import threading
import time


class _ThreadState(threading.local):
    def __init__(self) -> None:  # runs once in each thread
        self.names: list[str] = []  # of the modules whose `forward` has begun and not ended, the outermost first
        self.start_time = 0.0


_thread = _ThreadState()


def begin_module(name: str) -> None:
    """A module begins to compute in this thread. `name` is relative to the module that called it."""
    _thread.names.append(name)
    _thread.start_time = time.perf_counter()  # for the profiler: here begins the time of the module's first operation


def end_module() -> None:
    """The module that began last has ended."""
    _thread.names.pop()


def current_path() -> str:
    """The path of the module that is computing now in this thread, such as "blocks.3.mlp"; "" outside of modules.

    Known only while an op hook is set.
    """
    return ".".join(name for name in _thread.names if name)  # the outermost module has no name


def module_start_time() -> float:
    """When a module last began to compute in this thread, by `time.perf_counter`.

    Known only while an op hook is set.
    """
    return _thread.start_time
