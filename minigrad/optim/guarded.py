"""A step that is taken only if some numbers are finite, such as the loss and the norm of the gradient.

One NaN in the gradient would make all weights NaN for ever. On the CPU, the question is asked first. On a GPU, asking
means to wait until all work is done, and then the GPU waits for new work. There the update itself looks at the numbers
(AdamW's `guard`), and the host reads them afterwards, once, when it has given all work of the step to the GPU.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.cuda.compiler import has_real_kernels
from minigrad.optim.adamw import AdamW
from minigrad.optim.blocks import Parallel, run_serially
from minigrad.optim.optimizer import Optimizer


def step_if_finite(
    optimizer: Optimizer, *numbers: Any, lr: float | None = None, parallel: Parallel = run_serially
) -> list[float]:
    """`optimizer.step(lr, parallel)`, unless one of the numbers is not finite; returns them as Python numbers.

    `numbers`: Python numbers, or arrays of shape (). Read together, they cost one wait for the GPU.
    """
    together = _stacked(numbers)
    # Optimizers of several ranks, which are kinds of AdamW, must all know whether to step.
    if type(optimizer) is not AdamW or not _is_on_gpu(optimizer, together):
        found = _read(together)
        if all(map(math.isfinite, found)):
            optimizer.step(lr, parallel)
        return found
    before = [list(group.steps) for group in optimizer.groups]
    optimizer.guard = together.sum()  # of numbers that are all finite; one that is not makes the sum so
    try:
        optimizer.step(lr, parallel)
    finally:
        optimizer.guard = None
    found = _read(together)
    if not all(map(math.isfinite, found)):  # nothing was updated, so these steps do not count
        for group, steps in zip(optimizer.groups, before):
            group.steps = steps
    return found


def _is_on_gpu(optimizer: Optimizer, numbers: Array) -> bool:
    """Whether the numbers and all parameters are there, and have kernels."""
    return array_module(numbers) is not np and all(has_real_kernels(group.flat.data) for group in optimizer.groups)


def _stacked(numbers: tuple) -> Array:
    """The numbers as one float64 array; on a GPU if one of them is there."""
    on_gpu = [x for x in numbers if hasattr(x, "__cuda_array_interface__")]
    if not on_gpu:
        return np.array([float(x) for x in numbers])
    xp = array_module(on_gpu[0])
    together = xp.empty(len(numbers), np.float64)
    for i, x in enumerate(numbers):
        together[i] = x
    return together


def _read(numbers: Array) -> list[float]:
    return numbers.tolist()
