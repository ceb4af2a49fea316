"""One update of the weights: gradient, clipping, the optimizer. Also the learning rate, as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from llm.parallel.objective import Batch
from llm.parallel.workers import Workers
from llm.runs.options import TrainOptions
from llm.training.mixed_precision import MixedPrecision
from minigrad.optim import Optimizer, clip_grad_norm, schedules, step_if_finite

Schedule = Callable[[int], float]  # takes the number of a step (0, 1, 2 ...), returns its learning rate


@dataclass(frozen=True)
class StepResult:
    """What an update reports."""

    loss: float  # the mean over the batch, before the update; in nats per token where the objective is NextToken
    grad_norm: float  # before clipping
    updated: bool  # False: the loss or the gradient was not finite, and the weights are as before
    tokens: int  # how many tokens the batch had, for the speed in tokens per second
    overflow: bool = False  # not updated, because the loss scale of fp16 was too large; it is smaller now
    metrics: Mapping[str, float] = field(default_factory=dict)  # means of what the objective reports beside the loss


def train_step(
    workers: Workers,
    optimizer: Optimizer,
    batch: Batch,
    *,
    lr: float,
    clip: float = 1.0,
    micro_batches: int = 1,
    seed: tuple[int, int] = (0, 0),
    mixed: MixedPrecision | None = None,
) -> StepResult:
    """Update the weights once.

    `clip`: the largest norm that the gradient may have; 0: no limit. `micro_batches`: see `Workers.accumulate`.
    `seed`: the seed of the run and the number of the step, which together decide the dropout.
    `mixed`: the precision of matrix products; None: float32.
    """
    mixed = mixed or MixedPrecision("fp32")
    optimizer.zero_grad()
    loss = mixed.accumulate(workers, optimizer, batch, micro_batches=micro_batches, seed=seed)
    # If the norm of the whole gradient is too large, all of it is scaled by the same factor. So one bad batch cannot
    # spoil the weights. With infinity as the limit, the norm is only measured.
    # `parallel_slices` divides a loop over the weights among the workers.
    norm = clip_grad_norm(optimizer, clip or math.inf, parallel=workers.parallel_slices).data
    # One NaN in the gradient makes its norm NaN. After an update with it, all weights would be NaN for ever.
    loss, norm = step_if_finite(optimizer, loss, norm, lr=lr, parallel=workers.parallel_slices)
    finite = math.isfinite(loss) and math.isfinite(norm)
    overflow = mixed.update(loss, norm)
    return StepResult(loss, norm, finite, batch[0].size, overflow, workers.metrics.means())


def learning_rate(options: TrainOptions) -> Schedule:
    """The schedule that the options ask for: a linear warmup to `lr`, then a decay to `min_lr`."""
    # A run that is shorter than its warmup consists of warmup only. A --min-lr above --lr is treated as equal to --lr:
    # otherwise the decay would be a rise. The schedules take different arguments: only some of them end at a last step.
    start: dict[str, Any] = {"lr": options.lr, "warmup_steps": min(options.warmup, options.steps)}
    decay: dict[str, Any] = {"min_lr": min(options.min_lr, options.lr)}
    end = {"total_steps": options.steps}
    # An optimizer that is schedule-free averages the weights of all steps, instead of lowering the rate.
    name = "constant" if options.optimizer == "schedule-free" else options.schedule
    return {
        "constant": partial(schedules.constant, **start),
        "cosine": partial(schedules.warmup_cosine, **start, **decay, **end),
        "linear": partial(schedules.warmup_linear, **start, **decay, **end),
        "wsd": partial(schedules.warmup_stable_decay, **start, **decay, **end),
        "inverse_sqrt": partial(schedules.inverse_sqrt, **start, **decay),
    }[name]
