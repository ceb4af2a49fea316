"""One gradient for all workers: each adds its shares where the sum will stay, so none needs room for a gradient of its
own.

To the sum of a parameter come shares: the first of workers 0, 1, 2 ..., the second of workers 0, 1, 2 ..., as many as
the graph uses the parameter, in every part of a worker's rows. They are added in this order however the threads run, so
a number of workers gives the same bits every time. (The first two may change places: a + b is b + a to the bit.)

A worker whose share has no turn yet does not wait. It computes the share, leaves it for whoever adds the one before,
and goes on; or, where that would take a large array and can be done without, it comes back to the share after the rest
of its backward pass.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from minigrad.backward import backpropagate, seed_gradient
from minigrad.lazy import LazyGradient, materialize
from minigrad.modes import no_grad
from minigrad.nn.module import Parameter
from minigrad.tensor import Tensor

LARGE = 1 << 22  # numbers: 16 MB of float32
Share = Any  # an array, or a LazyGradient


class SharedGradients:
    """The gradients of one batch, for `workers` threads that make equally many backward passes, of the same graph."""

    def __init__(self, parameters: Iterable[Parameter], workers: int):
        self.sums = {p: _Sum(p, workers) for p in parameters}
        self.changed = threading.Condition()  # held for moments, never while computing
        self.failed = False

    def backward(self, rank: int, loss: Tensor) -> None:
        """Add the gradient of the loss of worker `rank`: all of it is in then, or left for others to add."""
        later: list[tuple[_Sum, int, Share]] = []

        def deliver(p: Parameter, share: Share) -> None:
            self._bring(self.sums[p], rank, share, later)

        try:
            backpropagate([(loss, seed_gradient(loss, None))], deliver)
            with no_grad():
                self._come_back(later)
        except BaseException:
            with self.changed:  # nobody shall wait for what will never come
                self.failed = True
                self.changed.notify_all()
            raise

    def _bring(self, total: _Sum, rank: int, share: Share, later: list) -> None:
        with self.changed:
            place = total.place(rank, share)
            has_turn = total.has_turn(place)
        if has_turn:
            self._add(total, place, share)
        elif (
            type(share) is LazyGradient
            and share.add is not None
            and (share.fill is None or total.parameter.size > LARGE)
        ):
            later.append((total, place, share))
        else:
            self._add(total, place, materialize(share))  # now, while somebody else is at the sum

    def _come_back(self, later: list) -> None:
        """Add what was put off, each share as soon as it has its turn. Somebody's always does, so nobody waits in a
        circle.
        """
        while later:
            with self.changed:
                ready: Any = self.changed.wait_for(
                    lambda: self.failed or [i for i, (total, place, _) in enumerate(later) if total.has_turn(place)]
                )
                if self.failed:
                    return
            self._add(*later.pop(ready[0]))

    def _add(self, total: _Sum, place: int, share: Share | None) -> None:
        """Leave the share at its place; then add those that have their turn, unless somebody is at it."""
        with self.changed:
            total.left[place] = share
            share = total.claim()
        while share is not None:
            total.parameter.accumulate(share)
            with self.changed:
                total.next, total.busy = total.next + 1, False
                share = total.claim()
                self.changed.notify_all()


class _Sum:
    """The gradient of one parameter while it grows; everything here is done with the lock held."""

    def __init__(self, parameter: Parameter, workers: int):
        self.parameter, self.brought = parameter, [0] * workers  # how many shares each worker has brought
        self.next, self.busy = 0, False  # the place of the next share; whether one is being added
        self.left: dict[int, Share] = {}  # by place: computed, to be added
        self.swapped = False

    def place(self, rank: int, share: Share) -> int:
        """Where the next share of this worker stands in the order."""
        place = self.brought[rank] * len(self.brought) + rank
        self.brought[rank] += 1
        only_adds = (
            type(share) is LazyGradient and share.fill is None
        )  # row by row: on top of another share it gives other bits
        if place == 1 and self.brought[0] == 0 and self.parameter.grad is None and not only_adds:
            self.swapped = True
        return 1 - place if self.swapped and place < 2 else place

    def has_turn(self, place: int) -> bool:
        return place == self.next and not self.busy

    def claim(self) -> Share | None:
        """The next share, to be added by who asks; None if it is not there, or somebody is at it."""
        if self.busy or self.next not in self.left:
            return None
        self.busy = True
        return self.left.pop(self.next)
