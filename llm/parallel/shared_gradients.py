"""One gradient for all threads. Each adds its gradients where the sum will stay, so none needs memory for its own.

During its backward pass, a thread delivers gradients of a parameter as often as the graph uses the parameter, in each
micro-batch. Floating-point sums depend on their order, so the order is fixed however the threads run: the first
gradient of workers 0, 1, 2 ..., then the second of workers 0, 1, 2 ..., and so on. Every gradient has a number in this
order. A number of workers so gives the same bits every time.

A thread whose gradient is not the next one does not wait. Either

- it computes the gradient, leaves the array behind, and goes on; the thread that adds the one before will add it too
- or, if the gradient is lazy and its array would be large, it computes nothing yet, and returns to it at the end of
  its backward pass, when it can be added in place
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

from minigrad.backward import backpropagate, seed_gradient
from minigrad.lazy import Gradient, LazyGradient, materialize
from minigrad.modes import no_grad
from minigrad.nn.module import Parameter
from minigrad.tensor import Tensor

LARGE_GRADIENT = 1 << 22  # numbers, 16 MB of float32: a lazy gradient of this size is rather delayed than copied


class SharedGradients:
    """The gradients of one batch.

    `workers` threads call `backward` equally often, with losses that have the same graph. `large`: lazy gradients with
    more numbers than this are delayed when it is not their turn.
    """

    def __init__(self, parameters: Iterable[Parameter], workers: int, large: int = LARGE_GRADIENT):
        self._accumulators = {p: _Accumulator(p, workers) for p in parameters}
        self._large = large
        self._changed = threading.Condition()  # its lock is held for moments, never during a computation
        self._failed = False

    def backward(self, rank: int, loss: Tensor) -> None:
        """Add the gradient of the loss of worker `rank`. On return, all of it has been added or left to be added."""
        delayed: list[_Delayed] = []

        def deliver(parameter: Parameter, gradient: Gradient) -> None:
            self._submit(self._accumulators[parameter], rank, gradient, delayed)

        try:
            backpropagate([(loss, seed_gradient(loss, None))], deliver)
            with no_grad():
                self._drain(delayed)
        except BaseException:
            with self._changed:  # other threads must not wait for gradients that will never come
                self._failed = True
                self._changed.notify_all()
            raise

    def _submit(self, accumulator: _Accumulator, rank: int, gradient: Gradient, delayed: list[_Delayed]) -> None:
        with self._changed:
            number = accumulator.number(rank, gradient)
            is_next = accumulator.is_next(number)
        if is_next:
            self._add(accumulator, number, gradient)
        elif self._is_worth_delaying(accumulator, gradient):
            delayed.append(_Delayed(accumulator, number, gradient))
        else:
            # Computed here, outside the lock and while another thread may be adding.
            self._add(accumulator, number, materialize(gradient))

    def _is_worth_delaying(self, accumulator: _Accumulator, gradient: Gradient) -> bool:
        """Whether it can be added without an array of its own, and the array would be large or mostly zeros."""
        if type(gradient) is not LazyGradient or gradient.add is None:
            return False
        return gradient.fill is None or accumulator.parameter.size > self._large

    def _drain(self, delayed: list[_Delayed]) -> None:
        """Add the delayed gradients, each when it is the next one.

        This cannot deadlock. When all threads are waiting here, consider the one that is furthest behind: the others
        have submitted every gradient that comes before its delayed ones. Of those not yet added, the one with the
        smallest number can be added.
        """
        while delayed:
            with self._changed:
                self._changed.wait_for(lambda: self._failed or any(each.is_next() for each in delayed))
                if self._failed:
                    return
                ready = next(i for i, each in enumerate(delayed) if each.is_next())
            self._add(*delayed.pop(ready))

    def _add(self, accumulator: _Accumulator, number: int, gradient: Gradient | None) -> None:
        """Leave the gradient under its number; then add all that are next, unless another thread is doing that."""
        with self._changed:
            accumulator.waiting[number] = gradient
            gradient = accumulator.take_next()
        while gradient is not None:
            accumulator.parameter.accumulate(gradient)
            with self._changed:
                accumulator.next_number, accumulator.busy = accumulator.next_number + 1, False
                gradient = accumulator.take_next()
                self._changed.notify_all()


class _Accumulator:
    """The gradient of one parameter while it grows. Everything here happens with the lock held."""

    def __init__(self, parameter: Parameter, workers: int):
        self.parameter = parameter
        self.submitted = [0] * workers  # how many gradients each worker has submitted
        self.waiting: dict[int, Gradient] = {}  # by number: computed, but not yet added
        self.next_number = 0
        self.busy = False  # whether a thread is adding one
        self.swapped = False  # whether numbers 0 and 1 are exchanged

    def number(self, rank: int, gradient: Gradient) -> int:
        """The number of the next gradient of worker `rank`."""
        number = self.submitted[rank] * len(self.submitted) + rank
        self.submitted[rank] += 1
        # a + b equals b + a to the last bit, so if worker 1 is the first to come, its gradient may be the first. That
        # saves a copy. It does not hold for a gradient that adds row by row: on top of another it rounds otherwise.
        only_adds = type(gradient) is LazyGradient and gradient.fill is None
        if number == 1 and self.submitted[0] == 0 and self.parameter.grad is None and not only_adds:
            self.swapped = True
        return 1 - number if self.swapped and number < 2 else number

    def is_next(self, number: int) -> bool:
        return number == self.next_number and not self.busy

    def take_next(self) -> Gradient | None:
        """The next gradient, which the caller must add; None if it is not there, or another thread is adding."""
        if self.busy or self.next_number not in self.waiting:
            return None
        self.busy = True
        return self.waiting.pop(self.next_number)


class _Delayed(NamedTuple):
    """A lazy gradient that was not the next one when it was submitted."""

    accumulator: _Accumulator
    number: int
    gradient: LazyGradient

    def is_next(self) -> bool:
        return self.accumulator.is_next(self.number)
