"""Learning rates as plain functions of the step, which is 0 for the first update and total_steps - 1 for the last.

All begin with the same linear warmup (Goyal et al. 2017, arXiv:1706.02677): lr (step + 1) / (warmup_steps + 1). The
first update is not wasted at 0, and `lr` is reached at step = warmup_steps exactly. Then they go down, and are `min_lr`
from step = total_steps on. With p = (step - warmup_steps) / (total_steps - warmup_steps):

    warmup_cosine           min_lr + (lr - min_lr) (1 + cos(pi p)) / 2      Loshchilov, Hutter 2017, arXiv:1608.03983
    warmup_linear           min_lr + (lr - min_lr) (1 - p)                  Devlin et al. 2019, arXiv:1810.04805
    warmup_stable_decay     lr, and linearly to min_lr at the end           Hu et al. 2024, arXiv:2404.06395
    inverse_sqrt            min_lr + (lr - min_lr) sqrt((warmup_steps + 1) / (step + 1))
                                                                            Vaswani et al. 2017, arXiv:1706.03762
    constant                lr
"""

from __future__ import annotations

import math


def constant(step: int, lr: float, warmup_steps: int = 0) -> float:
    return lr * _warmup(step, warmup_steps)


def warmup_cosine(step: int, lr: float, total_steps: int, warmup_steps: int = 0, min_lr: float = 0.0) -> float:
    p = _progress(step, warmup_steps, total_steps)
    return _between(min_lr, lr, (1 + math.cos(math.pi * p)) / 2) * _warmup(step, warmup_steps)


def warmup_linear(step: int, lr: float, total_steps: int, warmup_steps: int = 0, min_lr: float = 0.0) -> float:
    return _between(min_lr, lr, 1 - _progress(step, warmup_steps, total_steps)) * _warmup(step, warmup_steps)


def warmup_stable_decay(
    step: int, lr: float, total_steps: int, warmup_steps: int = 0, decay_steps: int | None = None, min_lr: float = 0.0
) -> float:
    """`decay_steps`: how many steps before the end the decay begins; unless given, a fifth of all."""
    decay_steps = total_steps // 5 if decay_steps is None else decay_steps
    start = max(warmup_steps, total_steps - decay_steps)
    return _between(min_lr, lr, 1 - _progress(step, start, total_steps)) * _warmup(step, warmup_steps)


def inverse_sqrt(step: int, lr: float, warmup_steps: int = 0, min_lr: float = 0.0) -> float:
    warmup = _warmup(step, warmup_steps)
    return _between(min_lr, lr, math.sqrt((warmup_steps + 1) / (max(step, warmup_steps) + 1))) * warmup


def _warmup(step: int, warmup_steps: int) -> float:
    """The factor of the warmup: from 1 / (warmup_steps + 1) up to 1."""
    if step < 0 or warmup_steps < 0:
        raise ValueError(f"step and warmup_steps must be at least 0, not {step} and {warmup_steps}")
    return min(1.0, (step + 1) / (warmup_steps + 1))


def _progress(step: int, start: int, end: int) -> float:
    """How far `step` is on the way from `start` to `end`, in [0, 1]."""
    if not 0 <= start <= end:
        raise ValueError(f"the warmup must end before the run does, but it has {start} of {end} steps")
    return 1.0 if step >= end else max(0, step - start) / max(1, end - start)


def _between(low: float, high: float, t: float) -> float:
    """From `low` at t = 0 to `high` at t = 1."""
    if not 0 <= low <= high:
        raise ValueError(f"min_lr must be between 0 and lr = {high}, not {low}")
    return low + (high - low) * t
