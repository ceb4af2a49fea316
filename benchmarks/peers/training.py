"""What all training steps have in common: AdamW's settings, and which batch comes when."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

from benchmarks.contestant import Work
from benchmarks.task import Task

# A higher rate would show in the loss how PyTorch sums the squares of 38 million gradients in float32: its norm is 0.01
# to 0.2% off.
RATE, BETAS, EPS, DECAY, CLIP = 1e-4, (0.9, 0.95), 1e-8, 0.1, 1.0  # decay: of matrices only


def trainer(task: Task, step: Callable[[Any, Any], float], convert: Callable[[Any], Any] = lambda ids: ids) -> Work:
    """`step(inputs, targets) -> loss` on one batch after the other, over and over; `convert`: from NumPy to the
    library's arrays.
    """
    batches = cycle([(convert(ids[:, :-1].copy()), convert(ids[:, 1:].copy())) for ids in task.ids()])
    return lambda: {"loss": step(*next(batches))}
