"""What training minimises. An objective defines the loss of a batch. Workers only divide the batch into rows.

A batch is a tuple of arrays with the same length along the first axis: the rows. Row i of all arrays belongs together,
and goes to the same worker. Next-token prediction has two arrays, inputs and targets, both (rows, T). Others may have

    fine-tuning on answers      inputs, targets with -100 where nothing is to be learned, document numbers: (rows, T)
    preferences (DPO)           ids and targets of a chosen and a rejected text (rows, 2, T), and the log-probabilities
                                that a reference model gives to both (rows, 2)
    policy gradients (GRPO)     ids and targets of sampled texts, and an advantage for each token: (rows, T)

By convention the first array holds the token ids that the model reads.

An objective returns a sum and a count, never a mean. Suppose that one worker has 1 target and another has 9: the mean
of their two means is not the mean of the 10. But if every sum is divided by the count of the *whole* batch, the
gradients add up to the same gradient, however the batch is divided.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from llm.model.gpt import GPT
from llm.parallel.metrics import Metrics
from minigrad.tensor import Tensor

Batch = tuple[np.ndarray, ...]


class Objective(Protocol):
    """A loss for `Workers`. It must build the same graph for any rows of a batch: see `SharedGradients`."""

    def loss_sum(self, model: GPT, batch: Batch) -> Tensor | tuple[Tensor, Metrics]:
        """The sum of the losses of some rows of a batch, a Tensor of shape (). The arrays are on the model's device.

        An objective may also return metrics of these rows, such as {"accuracy": (3, 4)}: 3 right of 4.
        """
        ...

    def count(self, batch: Batch) -> float:
        """What the sum over a whole batch is divided by, such as the number of targets that are not ignored."""
        ...


def loss_and_metrics(objective: Objective, model: GPT, batch: Batch) -> tuple[Tensor, Metrics]:
    """`objective.loss_sum`, with metrics in any case."""
    result = objective.loss_sum(model, batch)
    return result if isinstance(result, tuple) else (result, {})


def split_rows(batch: Batch, parts: int) -> list[Batch]:
    """The batch as `parts` batches of neighbouring rows, whose numbers of rows differ by at most one."""
    return list(zip(*(np.array_split(array, parts) for array in batch), strict=True))


def rows_at_once(batch_size: int, micro_batches: int) -> int:
    """How many rows of a batch are in memory at the same time: those of the largest micro-batch."""
    return -(-batch_size // min(micro_batches, batch_size))  # rounded up


def count_rows(batch: Batch) -> int:
    """The number of rows. Raises ValueError when the arrays do not agree on it, or there are none."""
    rows = {len(array) for array in batch}
    if len(rows) != 1 or 0 in rows:
        shapes = ", ".join(str(array.shape) for array in batch) or "no arrays"
        raise ValueError(f"the arrays of a batch need the same number of rows, at least one, got shapes {shapes}")
    return rows.pop()
