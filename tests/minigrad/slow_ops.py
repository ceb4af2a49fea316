"""Ops that take time by a clock of their own: tests of the profiler can say what each second counts to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from minigrad import Tensor, nn
from minigrad.lazy import Gradient, LazyGradient
from minigrad.nn import running
from minigrad.profiler import Profile
from minigrad.profiler.table import rows
from minigrad.tensor import array_of, as_tensor, record


class Clock:
    """Time stands still, except for what `tick` lets pass. All threads see the same time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += seconds


@contextmanager
def stopped_clock() -> Iterator[Clock]:
    """Replace `time.perf_counter` by a Clock."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(time, "perf_counter", clock)
        patch.setattr(running._thread, "start_time", 0.0)  # restored afterwards: times of two clocks cannot be compared
        yield clock


def slow(x: Tensor, clock: Clock, forward: float = 0, backward: float = 0, lazy: float = 0) -> Tensor:
    """x + 0. It takes `forward` seconds, its rule `backward`, and filling its LazyGradient `lazy`."""
    clock.tick(forward)

    def vjp(g: Gradient, out: None) -> tuple:
        clock.tick(backward)
        return (LazyGradient(array_of(g), lambda out: (clock.tick(lazy), np.copyto(out, array_of(g)))),)

    return record(x.data + 0, (x,), vjp)


def outer(x: Tensor, clock: Clock, before: float, forward: float, backward: float) -> Tensor:
    """x + 0. Its rule takes `before` seconds, then runs the op `slow`."""

    def vjp(g: Gradient, out: None) -> tuple:
        clock.tick(before)
        return (slow(as_tensor(g), clock, forward, backward),)

    return record(x.data + 0, (x,), vjp)


def broken(x: Tensor, clock: Clock) -> Tensor:
    """x + 0. Its rule fails after five seconds."""

    def vjp(g: Gradient, out: None) -> tuple:
        clock.tick(5)
        raise ArithmeticError

    return record(x.data + 0, (x,), vjp)


class Slow(nn.Module):
    """A module that waits for a while, then runs the op `slow` for another."""

    def __init__(self, clock: Clock, wait: float = 0, forward: float = 9):
        self.clock, self.wait, self.seconds = clock, wait, forward

    def forward(self, x: Tensor) -> Tensor:
        self.clock.tick(self.wait)
        return slow(x, self.clock, self.seconds)


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum()


def ones(*shape: int) -> Tensor:
    """A leaf of this shape, two elements if none is given."""
    return Tensor(np.ones(shape or (2,)), requires_grad=True)


def times(p: Profile) -> dict[str, tuple[float, float, float]]:
    """Seconds forward, backward and as a span, by name."""
    return {name: (row.forward, row.backward, row.span) for name, row in rows(p.events).items()}


def total(p: Profile) -> float:
    return sum(event.seconds for event in p.events)
