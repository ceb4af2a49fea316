"""Keys for random numbers that can be had again: each thread has a stream (seed, step, 0), (seed, step, 1), ...

A key says which use of randomness this is: the run's seed, the training step, and the place within the step. Numbers
are a pure function of the key (see fused/dropout.py), so nothing has to be stored to meet the same mask again in the
backward pass or after a resume.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

Key = tuple[int, int, int]


class _Stream(threading.local):
    key: Key = (0, 0, 0)  # the next one


_stream = _Stream()


def seed(seed: int, step: int = 0) -> None:
    """Restart this thread's stream at (seed, step, 0). Threads that share a step need different seeds, or they draw the
    same masks.
    """
    _stream.key = (seed, step, 0)


def next_key() -> Key:
    """The next key of this thread's stream: (seed, step, place)."""
    seed, step, place = key = _stream.key
    _stream.key = (seed, step, place + 1)
    return key


def stream_state() -> Key:
    """Where this thread's stream stands, for `replay`."""
    return _stream.key


@contextmanager
def replay(state: Key) -> Iterator[None]:
    """Inside, the stream runs again from `state`; afterwards it goes on as if nothing had happened."""
    before, _stream.key = _stream.key, state
    try:
        yield
    finally:
        _stream.key = before
