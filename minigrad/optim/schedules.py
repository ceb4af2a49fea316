"""Learning rates as plain functions of the step: 0 for the first update, so `step` runs to total_steps - 1 and the
end is total_steps.

All begin with the same linear warmup (Goyal et al. 2017, arXiv:1706.02677): step s < warmup_steps has lr * (s + 1) /
(warmup_steps + 1), so that the first update is not wasted at 0 and `lr` is reached at s = warmup_steps exactly. Then
they go down, never below `min_lr`, and stay there after the end. With p = (s - warmup_steps) / (total_steps -
warmup_steps), clipped to [0, 1]:

    warmup_cosine           min_lr + (lr - min_lr) (1 + cos(pi p)) / 2          Loshchilov and Hutter 2017, arXiv:1608.03983
    warmup_linear           min_lr + (lr - min_lr) (1 - p)                      Devlin et al. 2019, arXiv:1810.04805
    warmup_stable_decay     lr, then linearly to min_lr in decay_steps          Hu et al. 2024, arXiv:2404.06395 (there called WSD)
    inverse_sqrt            lr sqrt((warmup_steps + 1) / (s + 1))               Vaswani et al. 2017, arXiv:1706.03762
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


def warmup_stable_decay(step: int, lr: float, total_steps: int, warmup_steps: int = 0, decay_steps: int | None = None,
                        min_lr: float = 0.0) -> float:
    """`decay_steps`: how many steps before the end the decay begins; unless given, a fifth of all."""
    decay_steps = total_steps // 5 if decay_steps is None else decay_steps
    start = max(warmup_steps, total_steps - decay_steps)
    return _between(min_lr, lr, 1 - _progress(step, start, total_steps)) * _warmup(step, warmup_steps)


def inverse_sqrt(step: int, lr: float, warmup_steps: int = 0, min_lr: float = 0.0) -> float:
    if step < warmup_steps:
        return lr * _warmup(step, warmup_steps)
    return max(min_lr, lr * math.sqrt((warmup_steps + 1) / (step + 1)))


def _warmup(step: int, warmup_steps: int) -> float:
    """The factor of the warmup: from 1 / (warmup_steps + 1) up to 1."""
    if step < 0 or warmup_steps < 0:
        raise ValueError(f"step and warmup_steps must be at least 0, not {step} and {warmup_steps}")
    return min(1.0, (step + 1) / (warmup_steps + 1))


def _progress(step: int, start: int, end: int) -> float:
    """How far `step` is on the way from `start` to `end`, in [0, 1]."""
    if not 0 <= start <= end:
        raise ValueError(f"the warmup must end before the run does, but it has {start} of {end} steps")
    return 1.0 if step >= end else max(0.0, (step - start) / (end - start))


def _between(low: float, high: float, t: float) -> float:
    """From `low` at t = 0 to `high` at t = 1."""
    if not 0 <= low <= high:
        raise ValueError(f"min_lr must be between 0 and lr = {high}, not {low}")
    return low + (high - low) * t
