"""Keys for random numbers that can be reproduced.

A key (seed, step, count) says what the numbers are for: which run, which training step, and which draw within that
step. Each thread has a stream of keys:

    seed(7, step=100)       the next keys of this thread are (7, 100, 0), (7, 100, 1), (7, 100, 2), ...

The random numbers are a pure function of their key (fused/dropout.py). So the same dropout mask can be made again, in
the backward pass or in a resumed run, without storing it.

Where several threads, processes or machines compute one batch together, each has a part of its arrays: some rows, some
heads, some tokens. A `Part` says which one, and each draws its part of the mask of the whole batch. So the batch gets
the same mask, however it is divided:

    with placed(Part(axis=0, start=4, stop=8, total=16)):       here, arrays are rows 4 to 7 of 16
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import NamedTuple


class Part(NamedTuple):
    """Elements `start` to `stop` along an axis on which the whole has `total`."""

    axis: int
    start: int
    stop: int
    total: int

    def split(self, lengths: Sequence[int]) -> list[Part]:
        """Neighbouring parts of this part, of these lengths."""
        stops = list(accumulate(lengths, initial=self.start))
        return [self._replace(start=start, stop=stop) for start, stop in zip(stops, stops[1:])]


Placement = tuple[Part, ...]  # one for each axis that is divided
Key = tuple[int, int, int] | tuple[int, int, int, Placement]  # with the placement of the array that the key is for


class _Stream(threading.local):
    # Defaults; a thread that assigns gets values of its own.
    next_numbers: tuple[int, int, int] = (0, 0, 0)
    placement: Placement = ()


_stream = _Stream()


def seed(seed: int, step: int = 0, count: int = 0) -> None:
    """Restart this thread's stream at (seed, step, count).

    Threads that work on the same step draw the same masks, unless their seeds differ or they are `placed`.
    """
    _stream.next_numbers = (seed, step, count)


def next_key() -> Key:
    """The next key of this thread's stream."""
    key = stream_state()
    seed, step, count = _stream.next_numbers
    _stream.next_numbers = (seed, step, count + 1)
    return key


def stream_state() -> Key:
    """The state of this thread's stream, for `replay`: its next key."""
    return (*_stream.next_numbers, _stream.placement) if _stream.placement else _stream.next_numbers


@contextmanager
def replay(state: Key) -> Iterator[None]:
    """Inside, this thread's stream runs again from `state`. Afterwards it continues as if nothing had happened."""
    before = _stream.next_numbers, _stream.placement
    _stream.next_numbers, _stream.placement = state[:3], placement_of(state)
    try:
        yield
    finally:
        _stream.next_numbers, _stream.placement = before


@contextmanager
def placed(*parts: Part) -> Iterator[None]:
    """Inside, the arrays of this thread are these parts of larger ones. A part replaces one along the same axis."""
    before = _stream.placement
    axes = {part.axis for part in parts}
    _stream.placement = (*(part for part in before if part.axis not in axes), *parts)
    try:
        yield
    finally:
        _stream.placement = before


def placement_of(key: Key) -> Placement:
    return key[3] if len(key) == 4 else ()
