"""Batches of examples in random order. There is no state: a batch is a function of the seed and the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from llm.data.permutation import ROUNDS, permute
from llm.parallel.objective import Batch

E = TypeVar("E")
WINDOW = 16  # batches whose examples are sorted by length together, at most
MakeBatch = Callable[[list[E]], Batch]


class RowBatches(Generic[E]):
    """In each epoch, every example is used once. A batch at the end of one goes on with the next, in another order.

    `make_batch` makes a batch of some examples. `length` says how long one is. If it is given, batches have examples of
    about the same length, so that little is computed for padding: the examples of a window of batches are sorted by
    length and divided, and the batches come in random order.
    """

    def __init__(
        self,
        examples: Sequence[E],
        batch_size: int,
        seed: int,
        make_batch: MakeBatch[E],
        length: Callable[[E], int] | None = None,
    ):
        self.examples, self.batch_size, self.seed, self.make_batch = examples, batch_size, seed, make_batch
        self.lengths = None if length is None else np.array([length(example) for example in examples])
        # An epoch has at least four windows (as with `group_by_length` in transformers), so that its batches differ
        # from those of other epochs. In a longer window, a batch would be the copies of one example from many epochs.
        self.window = min(WINDOW, max(1, len(examples) // (4 * batch_size)))  # batches

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.examples) // self.batch_size)  # rounded up: the last batch may have some of the next epoch

    def batch(self, step: int) -> Batch:
        return self.make_batch([self.examples[i] for i in self.indices(step)])

    def indices(self, step: int) -> list[int]:
        """The numbers of the examples in the batch of a step."""
        B = self.batch_size
        if self.lengths is None:
            return self._shuffled(step * B, B).tolist()
        window, place = divmod(step, self.window)
        first = window * self.window * B
        numbers = self._shuffled(first, self.window * B)
        # Epochs are sorted one after the other: an example that is in two of them does not come twice in one batch.
        order = np.lexsort((self.lengths[numbers], np.arange(first, first + len(numbers)) // len(self.examples)))
        batches = numbers[order].reshape(self.window, B)
        return batches[permute(np.array([place]), self.window, self._keys(window, 1))[0]].tolist()

    def _shuffled(self, first: int, count: int) -> np.ndarray:
        """Some of the examples of all epochs, one epoch after the other."""
        epochs, places = np.divmod(np.arange(first, first + count), len(self.examples))
        chosen = [
            permute(places[epochs == epoch], len(self.examples), self._keys(epoch))
            for epoch in range(epochs[0], epochs[-1] + 1)
        ]
        return np.concatenate(chosen)

    def _keys(self, *numbers: int) -> np.ndarray:
        # A SeedSequence promises the same numbers in every version of NumPy. A Generator does not promise that.
        return np.random.SeedSequence((self.seed, *numbers)).generate_state(ROUNDS, np.uint64)


def some_batches(examples: Sequence[E], batch_size: int, count: int, make_batch: MakeBatch[E]) -> list[Batch]:
    """At most `count` batches of examples spread evenly over all, the same at every call."""
    wanted = min(len(examples), batch_size * count)
    chosen = [examples[i * len(examples) // wanted] for i in range(wanted)]
    return [make_batch(chosen[first : first + batch_size]) for first in range(0, wanted, batch_size)]
