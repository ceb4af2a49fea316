"""One update of the weights: gradients of a batch in parts, clipping, AdamW; and the learning rate of a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from llm.parallel.threads import Share, Workers
from llm.runs.options import TrainOptions
from minigrad.optim import AdamW, clip_grad_norm, schedules


@dataclass(frozen=True)
class StepResult:
    """What an update tells: mean loss in nats per token, norm of the gradient before clipping, whether the weights were
    updated.
    """

    loss: float
    grad_norm: float
    updated: bool


def train_step(
    workers: Workers,
    optimizer: AdamW,
    inputs: np.ndarray,
    targets: np.ndarray,
    *,
    lr: float,
    clip: float = 1.0,
    micro_batches: int = 1,
    seed: tuple[int, int] = (0, 0),
) -> StepResult:
    """One update from inputs and targets, integers (B, T). A loss or gradient that is not finite leaves the weights as
    they are.

    `seed`: the run's and the step's number, for dropout.
    """
    optimizer.zero_grad()
    loss = accumulate_gradients(workers, inputs, targets, micro_batches, seed)
    norm = float(clip_grad_norm(optimizer, clip or math.inf, workers.share))
    finite = math.isfinite(loss) and math.isfinite(norm)
    if finite:
        optimizer.step(lr=lr, parallel=workers.share)
    return StepResult(loss, norm, finite)


def accumulate_gradients(
    workers: Workers, inputs: np.ndarray, targets: np.ndarray, micro_batches: int = 1, seed: tuple[int, int] = (0, 0)
) -> float:
    """Add up the gradients of the mean loss per token; returns that loss.

    Each worker takes a share of the rows, in at most `micro_batches` parts one after the other.
    """
    count = min(len(workers), len(inputs))
    parts = min(micro_batches, len(inputs) // count)  # as many for each, and none empty
    split = zip(*(np.array_split(rows, count) for rows in (inputs, targets)))
    return workers.accumulate(
        [
            Share(x, y, parts, targets.size, (seed[0] + (rank << 32), seed[1]))  # other masks in each worker
            for rank, (x, y) in enumerate(split)
        ]
    )


def learning_rate(options: TrainOptions) -> Callable[[int], float]:
    """The learning rate as a function of the step, from 0."""
    o, s = options, schedules
    shape: dict[str, Any] = {"lr": o.lr, "warmup_steps": min(o.warmup, o.steps)}
    return {
        "constant": partial(s.constant, **shape),
        "cosine": partial(s.warmup_cosine, total_steps=o.steps, min_lr=min(o.min_lr, o.lr), **shape),
        "linear": partial(s.warmup_linear, total_steps=o.steps, min_lr=min(o.min_lr, o.lr), **shape),
        "wsd": partial(s.warmup_stable_decay, total_steps=o.steps, min_lr=min(o.min_lr, o.lr), **shape),
        "inverse_sqrt": partial(s.inverse_sqrt, min_lr=min(o.min_lr, o.lr), **shape),
    }[options.schedule]
