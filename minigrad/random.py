"""Keys for random numbers that can be reproduced.

A key (seed, step, count) says what the numbers are for: which run, which training step, and which draw within that
step. Each thread has a stream of keys:

    seed(7, step=100)       the next keys of this thread are (7, 100, 0), (7, 100, 1), (7, 100, 2), ...

The random numbers are a pure function of their key (fused/dropout.py). So the same dropout mask can be made again, in
the backward pass or in a resumed run, without storing it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

Key = tuple[int, int, int]


class _Stream(threading.local):
    next_key: Key = (0, 0, 0)  # the default; a thread that assigns gets a value of its own


_stream = _Stream()


def seed(seed: int, step: int = 0) -> None:
    """Restart this thread's stream at (seed, step, 0).

    Threads that work on the same step need different seeds, or they draw the same masks.
    """
    _stream.next_key = (seed, step, 0)


def next_key() -> Key:
    """The next key of this thread's stream."""
    seed, step, count = key = _stream.next_key
    _stream.next_key = (seed, step, count + 1)
    return key


def stream_state() -> Key:
    """The state of this thread's stream, for `replay`."""
    return _stream.next_key


@contextmanager
def replay(state: Key) -> Iterator[None]:
    """Inside, this thread's stream runs again from `state`. Afterwards it continues as if nothing had happened."""
    before, _stream.next_key = _stream.next_key, state
    try:
        yield
    finally:
        _stream.next_key = before
