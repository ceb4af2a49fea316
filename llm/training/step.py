"""One update of the weights: gradient, clipping, AdamW. And the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from llm.parallel.objective import Batch
from llm.parallel.workers import Workers
from llm.runs.options import TrainOptions
from minigrad.optim import AdamW, clip_grad_norm, schedules

Schedule = Callable[[int], float]  # the step, from 0 -> its learning rate


@dataclass(frozen=True)
class StepResult:
    """What an update reports."""

    loss: float  # the mean over the batch, before the update; in nats per token where the objective is NextToken
    grad_norm: float  # before clipping
    updated: bool  # False: the loss or the gradient was not finite, and the weights are as before
    tokens: int  # that the model read


def train_step(
    workers: Workers,
    optimizer: AdamW,
    batch: Batch,
    *,
    lr: float,
    clip: float = 1.0,
    micro_batches: int = 1,
    seed: tuple[int, int] = (0, 0),
) -> StepResult:
    """Update the weights once. `clip`: the largest norm of the gradient, 0 for any; `seed`: those of run and step."""
    optimizer.zero_grad()
    loss = workers.accumulate(batch, micro_batches=micro_batches, seed=seed)
    # All gradients are scaled by the same factor when their common norm is too large. So one bad batch cannot throw the
    # weights far off. With infinity, the norm is only measured.
    norm = float(clip_grad_norm(optimizer, clip or math.inf, workers.parallel_slices))
    # A single NaN in the gradient would make every weight NaN for ever. Such a batch is skipped.
    finite = math.isfinite(loss) and math.isfinite(norm)
    if finite:
        optimizer.step(lr=lr, parallel=workers.parallel_slices)
    return StepResult(loss, norm, finite, tokens=batch[0].size)


def learning_rate(options: TrainOptions) -> Schedule:
    """The schedule that the options ask for: a linear warmup to `lr`, then a decay to `min_lr`."""
    # In a run shorter than its warmup, all of it is warmup. A --min-lr above --lr would make the decay a rise.
    start: dict[str, Any] = {"lr": options.lr, "warmup_steps": min(options.warmup, options.steps)}
    decay: dict[str, Any] = {"min_lr": min(options.min_lr, options.lr)}
    end = decay | {"total_steps": options.steps}
    return {
        "constant": partial(schedules.constant, **start),
        "cosine": partial(schedules.warmup_cosine, **start, **end),
        "linear": partial(schedules.warmup_linear, **start, **end),
        "wsd": partial(schedules.warmup_stable_decay, **start, **end),
        "inverse_sqrt": partial(schedules.inverse_sqrt, **start, **decay),
    }[options.schedule]
