"""Batches of examples in random order. There is no state: a batch is a function of the seed and the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from llm.data.permutation import ROUNDS, permute
from llm.parallel.objective import Batch


class RowBatches:
    """In each epoch, every example is used once. A batch at the end of one goes on with the next, in another order.

    `make(rows)` gives the batch of the examples with these numbers.
    """

    def __init__(self, count: int, batch_size: int, seed: int, make: Callable[[Sequence[int]], Batch]):
        self.count, self.batch_size, self.seed, self.make = count, batch_size, seed, make

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.count // self.batch_size)  # rounded up

    def rows(self, step: int) -> list[int]:
        """The numbers of the examples in the batch of a step."""
        first = step * self.batch_size
        epochs, places = np.divmod(np.arange(first, first + self.batch_size), self.count)
        orders = [self._order(epoch, places[epochs == epoch]) for epoch in range(epochs[0], epochs[-1] + 1)]
        return np.concatenate(orders).tolist()

    def batch(self, step: int) -> Batch:
        return self.make(self.rows(step))

    def _order(self, epoch: int, places: np.ndarray) -> np.ndarray:
        # A SeedSequence promises the same numbers in every version of NumPy. A Generator does not promise that.
        return permute(places, self.count, np.random.SeedSequence((self.seed, epoch)).generate_state(ROUNDS, np.uint64))


def some_batches(count: int, batch_size: int, batches: int, make: Callable[[Sequence[int]], Batch]) -> list[Batch]:
    """At most `batches` batches of different examples, spread evenly over all `count`: the same at every call."""
    used = min(count, batch_size * batches)
    rows = [number * count // used for number in range(used)]
    return [make(rows[first : first + batch_size]) for first in range(0, used, batch_size)]
