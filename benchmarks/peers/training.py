"""What all training steps have in common: the settings of AdamW, and the order of the batches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

from benchmarks.competitor import Work
from benchmarks.task import Task

# PyTorch sums the squares of 38 million gradients in float32, so its norm is off by 0.01 to 0.2%. With a higher
# learning rate, the losses would differ because of that.
RATE, BETAS, EPS, DECAY, CLIP = 1e-4, (0.9, 0.95), 1e-8, 0.1, 1.0  # weight decay is for matrices only


def trainer(task: Task, step: Callable[[Any, Any], float], convert: Callable[[Any], Any] = lambda ids: ids) -> Work:
    """A call is `step(inputs, targets)`, which returns the loss, on the next batch; after the last comes the first.

    `convert` makes arrays of the library from those of NumPy.
    """
    batches = cycle([(convert(ids[:, :-1].copy()), convert(ids[:, 1:].copy())) for ids in task.ids()])
    return lambda: {"loss": step(*next(batches))}
