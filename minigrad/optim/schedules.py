"""Learning rates as plain functions of the step, which is 0 for the first update and total_steps - 1 for the last.

All begin with the same linear warmup (Goyal et al. 2017, arXiv:1706.02677):

    lr (step + 1) / (warmup_steps + 1)

So the first update is not wasted on a learning rate of 0, and `lr` is reached exactly at step = warmup_steps. After
that, the schedules with `total_steps` go down to `min_lr`, which they reach at step = total_steps and keep. In their
formulas, p = (step - warmup_steps) / (total_steps - warmup_steps) grows from 0 to 1.
"""

from __future__ import annotations

import math


def constant(step: int, lr: float, warmup_steps: int = 0) -> float:
    """`lr` after the warmup.

           _________
          /
         /

    It has no planned end.
    """
    return lr * _warmup(step, warmup_steps)


def warmup_cosine(step: int, lr: float, total_steps: int, warmup_steps: int = 0, min_lr: float = 0.0) -> float:
    """min_lr + (lr - min_lr) (1 + cos(pi p)) / 2: half a period of a cosine.

           .-.
          /   `.
         /      `-.__

    Loshchilov and Hutter 2017 (arXiv:1608.03983).
    """
    # During the warmup p is 0, so the cosine is 1 and only the factor `_warmup` changes the learning rate.
    p = _progress(step, warmup_steps, total_steps)
    # Then the cosine falls from 1 to -1, so (1 + cos) / 2 falls from 1 to 0.
    return _interpolate(min_lr, lr, (1 + math.cos(math.pi * p)) / 2) * _warmup(step, warmup_steps)


def warmup_linear(step: int, lr: float, total_steps: int, warmup_steps: int = 0, min_lr: float = 0.0) -> float:
    """min_lr + (lr - min_lr) (1 - p): a straight line.

           /`-.
          /    `-.
         /        `-.

    Devlin et al. 2019 (arXiv:1810.04805).
    """
    return _interpolate(min_lr, lr, 1 - _progress(step, warmup_steps, total_steps)) * _warmup(step, warmup_steps)


def warmup_stable_decay(
    step: int, lr: float, total_steps: int, warmup_steps: int = 0, decay_steps: int | None = None, min_lr: float = 0.0
) -> float:
    r"""`lr`, and in the last `decay_steps` a straight line to `min_lr`.

           _______
          /       \
         /         \

    `decay_steps`: a fifth of all steps unless given. Hu et al. 2024 (arXiv:2404.06395).
    """
    # Three phases: warmup, `lr` (where the progress is 0), decay.
    decay_steps = total_steps // 5 if decay_steps is None else decay_steps
    # The decay does not begin before the warmup has ended.
    start = max(warmup_steps, total_steps - decay_steps)
    return _interpolate(min_lr, lr, 1 - _progress(step, start, total_steps)) * _warmup(step, warmup_steps)


def inverse_sqrt(step: int, lr: float, warmup_steps: int = 0, min_lr: float = 0.0) -> float:
    """min_lr + (lr - min_lr) sqrt((warmup_steps + 1) / (step + 1)), which has no planned end.

           .
          / `-._
         /      `---...____

    Vaswani et al. 2017 (arXiv:1706.03762).
    """
    warmup = _warmup(step, warmup_steps)  # first, because it checks the arguments
    decay = math.sqrt((warmup_steps + 1) / (max(step, warmup_steps) + 1))  # 1 during the warmup
    return _interpolate(min_lr, lr, decay) * warmup


def _warmup(step: int, warmup_steps: int) -> float:
    """The factor of the warmup: from 1 / (warmup_steps + 1) at step 0 up to 1."""
    if step < 0 or warmup_steps < 0:
        raise ValueError(f"step and warmup_steps must be at least 0, not {step} and {warmup_steps}")
    return min(1.0, (step + 1) / (warmup_steps + 1))  # without a warmup, 1 from the first step on


def _progress(step: int, start: int, end: int) -> float:
    """How far `step` is on the way from `start` to `end`: 0 before, 1 after."""
    if not 0 <= start <= end:
        raise ValueError(f"the warmup must end before the run does, but it has {start} of {end} steps")
    # At the end it is exactly 1, whatever is rounded; max(1, ...) avoids 0 / 0 where start = end.
    return 1.0 if step >= end else max(0, step - start) / max(1, end - start)


def _interpolate(low: float, high: float, t: float) -> float:
    """From `low` at t = 0 to `high` at t = 1."""
    if not 0 <= low <= high:
        raise ValueError(f"min_lr must be between 0 and lr = {high}, not {low}")
    return low + (high - low) * t
