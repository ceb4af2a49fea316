"""What training minimises. An objective defines the loss of a batch; workers split the batch and know nothing of it.

A batch is a tuple of arrays with the same first axis, the rows. What belongs to a row stays together when the workers
divide the rows among them. Next-token prediction has two arrays, inputs and targets, both (rows, T). Others may have

    fine-tuning on answers      inputs, targets with -100 where nothing is to be learned, document numbers: (rows, T)
    preferences (DPO)           ids and targets of a chosen and a rejected text (rows, 2, T), and the log-probabilities
                                that a reference model gives to both (rows, 2)
    policy gradients (GRPO)     ids and targets of sampled texts, and an advantage for each token: (rows, T)

By convention the first array holds the token ids that the model reads.

An objective returns a sum and a count, never a mean: the mean of the means of two parts is not the mean of the whole
when the parts have different numbers of targets. Dividing every sum by the count of the *whole* batch gives the same
gradient however the batch is split.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from llm.model.gpt import GPT
from minigrad.tensor import Tensor

Batch = tuple[np.ndarray, ...]


class Objective(Protocol):
    """A loss for `Workers`. Every split of a batch must build the same graph: see shared_gradients.py."""

    def loss_sum(self, model: GPT, batch: Batch) -> Tensor:
        """The sum, a Tensor of shape (), of the losses of these rows; their arrays are on the model's device."""
        ...

    def count(self, batch: Batch) -> float:
        """What the sum over a whole batch is divided by, such as the number of targets that are not ignored."""
        ...


def split_rows(batch: Batch, parts: int) -> list[Batch]:
    """The batch as `parts` batches of neighbouring rows, whose numbers of rows differ by at most one."""
    return list(zip(*(np.array_split(array, parts) for array in batch), strict=True))


def check_rows(batch: Batch) -> int:
    """The number of rows. Raises ValueError when the arrays do not agree on it, or there are none."""
    rows = {len(array) for array in batch}
    if len(rows) != 1 or 0 in rows:
        shapes = ", ".join(str(array.shape) for array in batch)
        raise ValueError(
            f"the arrays of a batch need the same number of rows, at least one, got shapes {shapes or 'of none'}"
        )
    return rows.pop()
