"""Batches of examples in random order. There is no state: a batch is a function of the seed and the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from llm.data.permutation import ROUNDS, permute
from llm.parallel.objective import Batch

E = TypeVar("E")
MakeBatch = Callable[[list[E]], Batch]


class RowBatches(Generic[E]):
    """In each epoch, every example is used once. A batch at the end of one goes on with the next, in another order.

    `make_batch` makes a batch of some examples.
    """

    def __init__(self, examples: Sequence[E], batch_size: int, seed: int, make_batch: MakeBatch[E]):
        self.examples, self.batch_size, self.seed, self.make_batch = examples, batch_size, seed, make_batch

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.examples) // self.batch_size)  # rounded up: the last batch may have some of the next epoch

    def batch(self, step: int) -> Batch:
        return self.make_batch([self.examples[i] for i in self.indices(step)])

    def indices(self, step: int) -> list[int]:
        """The numbers of the examples in the batch of a step."""
        first = step * self.batch_size
        epochs, places = np.divmod(np.arange(first, first + self.batch_size), len(self.examples))  # (B,) each
        chosen = []
        for epoch in range(epochs[0], epochs[-1] + 1):
            # A SeedSequence promises the same numbers in every version of NumPy. A Generator does not promise that.
            keys = np.random.SeedSequence((self.seed, epoch)).generate_state(ROUNDS, np.uint64)
            chosen.append(permute(places[epochs == epoch], len(self.examples), keys))
        return np.concatenate(chosen).tolist()


def some_batches(examples: Sequence[E], batch_size: int, count: int, make_batch: MakeBatch[E]) -> list[Batch]:
    """At most `count` batches of examples spread evenly over all, the same at every call."""
    wanted = min(len(examples), batch_size * count)
    chosen = [examples[i * len(examples) // wanted] for i in range(wanted)]
    return [make_batch(chosen[first : first + batch_size]) for first in range(0, wanted, batch_size)]
