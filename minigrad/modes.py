"""Two settings, separate for each thread: whether operations are recorded, and whether a tool observes them.

The profiler, anomaly detection and checkpointing observe every operation through an op hook.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Mode(threading.local):
    # The values in the class are the defaults of every thread. A thread that assigns to `mode.recording`
    # gets a value of its own; the other threads keep the default.
    recording: bool = True
    op_hook: Callable | None = None  # called as op_hook(data, inputs, vjp) for every operation; returns the rule to use


mode = _Mode()


@contextmanager
def recording(on: bool) -> Iterator[None]:
    """Turn the recording of the graph on or off in this thread."""
    before, mode.recording = mode.recording, on
    try:
        yield
    finally:
        mode.recording = before


def no_grad():
    """`with no_grad():` (or as a decorator): results inside have no history and require no gradient."""
    return recording(False)


@contextmanager
def op_hook(hook: Callable, *, all_threads: bool = False) -> Iterator[None]:
    """Call `hook(data, inputs, vjp)` for every operation of this thread; `hook` returns the gradient rule to record.

    A hook that was set before is called too. With `all_threads`, the threads that have no hook of their own call `hook`
    as well.
    """
    previous = mode.op_hook  # set by this thread, or the default that all threads share
    previous_of_thread = vars(mode).get("op_hook")  # vars(mode) has only what this thread has set
    if previous is None:
        mode.op_hook = hook
    else:  # the previous hook gets the rule that the new one returns
        mode.op_hook = lambda data, inputs, vjp: previous(data, inputs, hook(data, inputs, vjp))
    if all_threads:
        _Mode.op_hook = hook
    try:
        yield
    finally:
        if all_threads:
            _Mode.op_hook = None
        if previous_of_thread is None:
            del mode.op_hook  # not `= None`, which would hide the hook of all threads from this thread
        else:
            mode.op_hook = previous_of_thread
