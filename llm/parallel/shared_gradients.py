"""One gradient for all threads: they add to the same arrays, so no thread needs memory for a gradient of its own.

The result must have the same bits every time, however fast each thread runs. But a floating-point sum depends on its
order: (a + b) + c is not always a + (b + c). So the gradients of each parameter get numbers, and are added in the order
of the numbers. For example, two workers and a tied embedding, which is used twice in the graph:

                                      worker 0    worker 1
    gradient through the head             0           1
    gradient through the embedding        2           3

If it is not yet the turn of its gradient, a thread does not wait. It goes on, and there are two cases:

    stored      The usual case: the thread stores the array of the gradient. The thread that adds the number before it
                then adds this one too.
    delayed     A lazy gradient (minigrad/lazy.py) has no array yet. If the array would be large, or zero nearly
                everywhere, it is never made. Instead, at the end of its backward pass, the thread waits for the turn of
                this gradient, and adds it directly.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

from minigrad.backward import backpropagate, seed_gradient
from minigrad.lazy import Gradient, LazyGradient, materialize
from minigrad.modes import no_grad
from minigrad.nn.module import Parameter
from minigrad.profiler import span
from minigrad.tensor import Tensor

LARGE_GRADIENT = 1 << 22  # numbers, 16 MB of float32: from this size on, a lazy gradient is delayed and not stored


class SharedGradients:
    """The gradients of one micro-batch. Each of `workers` threads calls `backward` with the loss of its rows.

    All losses must have the same graph, and all threads as many losses. Otherwise a number would be missing, and the
    numbers after it would never be added. `large`: the LARGE_GRADIENT to use.
    """

    def __init__(self, parameters: Iterable[Parameter], workers: int, large: int = LARGE_GRADIENT):
        self._accumulators = {p: _Accumulator(p, workers) for p in parameters}
        self._large = large
        # A lock for the state of all accumulators, and a way to wait for changes of it. Nothing is computed while a
        # thread holds the lock, so other threads get it at once.
        self._changed = threading.Condition()
        self._failed = False

    def backward(self, rank: int, loss: Tensor) -> None:
        """Add the gradient of `loss`, computed by worker `rank`. Other threads may add a part of it later."""
        delayed: list[_Delayed] = []

        # The engine calls this for each gradient of a parameter, as soon as its rule has returned it.
        def deliver(parameter: Parameter, gradient: Gradient) -> None:
            self._submit(self._accumulators[parameter], rank, gradient, delayed)

        try:
            backpropagate([(loss, seed_gradient(loss, None))], deliver)
            with no_grad():
                self._add_delayed(delayed)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Tell the other threads not to wait: this one has failed, and some of its gradients will never come."""
        with self._changed:
            self._failed = True
            self._changed.notify_all()

    def _submit(self, accumulator: _Accumulator, rank: int, gradient: Gradient, delayed: list[_Delayed]) -> None:
        """Give the gradient its number. Then add it, delay it, or store it."""
        with self._changed:
            number = accumulator.assign_number(rank, gradient)
            is_next = accumulator.is_next(number)
        if is_next:
            self._add(accumulator, number, gradient)
        elif self._should_delay(accumulator, gradient):
            delayed.append(_Delayed(accumulator, number, gradient))
        else:
            # `materialize` computes the array. It is called without the lock, so other threads can go on meanwhile.
            self._add(accumulator, number, materialize(gradient))

    def _should_delay(self, accumulator: _Accumulator, gradient: Gradient) -> bool:
        """Whether the gradient can be added without an array of its own, and this array would be a waste."""
        if type(gradient) is not LazyGradient or gradient.add is None:
            return False
        # A gradient without `fill` is zero nearly everywhere, such as that of an embedding.
        is_sparse, is_large = gradient.fill is None, accumulator.parameter.size > self._large
        return is_sparse or is_large

    def _add_delayed(self, delayed: list[_Delayed]) -> None:
        """Add the delayed gradients, each when it is the next one of its parameter."""
        # There is no deadlock. Suppose that all threads wait here. Choose a thread with the fewest losses, and one of
        # its delayed gradients. Let g be the gradient of the same parameter that has to be added next.
        # 1. All threads have submitted the gradients of as many losses, so g has been submitted.
        # 2. g is not stored: a stored gradient is added as soon as it is its turn.
        # 3. So g is delayed, and its thread waits here. But this thread does not wait, because g is the next one.
        while delayed:
            with self._changed:
                self._changed.wait_for(lambda: self._failed or any(each.is_next() for each in delayed))
                if self._failed:
                    return
                ready = next(i for i, each in enumerate(delayed) if each.is_next())
            with span("delayed gradients"):  # for the profiler: their rules have returned long ago
                self._add(*delayed.pop(ready))

    def _add(self, accumulator: _Accumulator, number: int, gradient: Gradient | None) -> None:
        """Store the gradient under its number. Then add all stored ones whose turn it is."""
        with self._changed:
            accumulator.stored[number] = gradient
            gradient, added = accumulator.take_next(), accumulator.next_number
        while gradient is not None:
            # The computation, without the lock. The array of the first sum is new, so the others can be added to it.
            accumulator.parameter.accumulate(gradient, in_place=added > 0)
            with self._changed:
                added = accumulator.next_number + 1
                accumulator.next_number, accumulator.is_adding = added, False
                gradient = accumulator.take_next()
                self._changed.notify_all()
            self._added(accumulator.parameter, added)

    def _added(self, parameter: Parameter, number: int) -> None:
        """Called when `number` gradients of the parameter have been added."""


class _Accumulator:
    """The gradient of one parameter while it is summed up. All methods are called with the lock held."""

    def __init__(self, parameter: Parameter, workers: int):
        self.parameter = parameter
        self.submitted = [0] * workers  # how many gradients each worker has submitted
        self.stored: dict[int, Gradient] = {}  # by number: gradients that wait for their turn
        self.next_number = 0  # the number of the gradient to be added next, or being added now
        self.is_adding = False  # whether a thread is adding it now
        self.swapped = False  # whether numbers 0 and 1 are exchanged

    def assign_number(self, rank: int, gradient: Gradient) -> int:
        """The number of the next gradient of worker `rank`."""
        number = self.submitted[rank] * len(self.submitted) + rank
        self.submitted[rank] += 1
        # a + b equals b + a to the last bit. So the first two gradients may be added in either order: if worker 1 is
        # faster than worker 0, its gradient gets number 0, and need not be stored. With three terms the order matters:
        # - the parameter has a gradient g already: (g + a) + b is not always (g + b) + a
        # - b is added row by row (embedding), some row twice: (a + b1) + b2 is not always (b1 + b2) + a
        adds_row_by_row = type(gradient) is LazyGradient and gradient.fill is None
        if number == 1 and self.submitted[0] == 0 and self.parameter.grad is None and not adds_row_by_row:
            self.swapped = True
        return 1 - number if self.swapped and number < 2 else number

    def is_next(self, number: int) -> bool:
        return number == self.next_number and not self.is_adding

    def take_next(self) -> Gradient | None:
        """The next gradient, for the caller to add. None if it is not stored, or if another thread is adding."""
        if self.is_adding or self.next_number not in self.stored:
            return None
        self.is_adding = True
        return self.stored.pop(self.next_number)


class _Delayed(NamedTuple):
    """A lazy gradient that was not the next one when it was submitted."""

    accumulator: _Accumulator
    number: int
    gradient: LazyGradient

    def is_next(self) -> bool:
        return self.accumulator.is_next(self.number)
