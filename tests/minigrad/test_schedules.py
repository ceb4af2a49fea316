"""Schedules: they begin above 0, rise to `lr`, go down without jumps, and end at `min_lr`, for any numbers of steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.optim import constant, inverse_sqrt, warmup_cosine, warmup_linear, warmup_stable_decay
from tests.minigrad.tolerances import FLOAT64_SUMS

ENDING = [warmup_cosine, warmup_linear, warmup_stable_decay]


@st.composite
def plans(draw: st.DrawFn) -> dict:
    """Arguments of the schedules that end: 1 to 60 steps, the warmup shorter than that."""
    total_steps = draw(st.integers(1, 60))
    lr = draw(st.floats(1e-6, 10.0))
    return {
        "lr": lr,
        "total_steps": total_steps,
        "warmup_steps": draw(st.integers(0, total_steps - 1)),
        "min_lr": lr * draw(st.floats(0.0, 1.0)),
    }


def values(schedule: Callable, **plan) -> list[float]:
    steps = plan.get("total_steps", 60) + 5
    return [schedule(step, **plan) for step in range(steps)]


def check_shape(lrs: list[float], lr: float, warmup_steps: int, min_lr: float, largest_drop: float) -> None:
    """Linear warmup to lr, then never up, never below min_lr, and never more than `largest_drop` in a step."""
    slack = FLOAT64_SUMS * lr
    for s in range(warmup_steps):
        assert lrs[s] == pytest.approx(lr * (s + 1) / (warmup_steps + 1), rel=FLOAT64_SUMS)
    assert lrs[warmup_steps] == pytest.approx(lr, rel=FLOAT64_SUMS)
    for before, after in zip(lrs[warmup_steps:], lrs[warmup_steps + 1 :]):
        assert before + slack >= after >= min_lr
        assert before - after <= largest_drop + slack


def largest_drop(schedule: Callable, plan: dict) -> float:
    """The steepest slope of each formula, times one step."""
    height, length = plan["lr"] - plan["min_lr"], plan["total_steps"] - plan["warmup_steps"]
    if schedule is warmup_stable_decay:
        length = min(length, max(1, plan["total_steps"] // 5))
    return height / length * (math.pi / 2 if schedule is warmup_cosine else 1)


@pytest.mark.parametrize("schedule", ENDING)
@given(plan=plans())
def test_shape_and_end(schedule: Callable, plan: dict[str, Any]) -> None:
    lrs = values(schedule, **plan)
    check_shape(lrs, plan["lr"], plan["warmup_steps"], plan["min_lr"], largest_drop(schedule, plan))
    assert lrs[plan["total_steps"] :] == [plan["min_lr"]] * 5
    options = {"warmup_steps": 0, "min_lr": 0.0}
    assert values(schedule, **{k: v for k, v in plan.items() if k not in options}) == values(schedule, **plan | options)


@given(plan=plans())
def test_schedules_without_end(plan: dict[str, Any]) -> None:
    del plan["total_steps"]
    check_shape(values(inverse_sqrt, **plan), **plan, largest_drop=plan["lr"] / 2)
    lr, warmup_steps = plan["lr"], plan["warmup_steps"]
    check_shape(values(constant, lr=lr, warmup_steps=warmup_steps), lr, warmup_steps, min_lr=lr, largest_drop=0)


@pytest.mark.control
def test_a_schedule_that_jumps_is_caught() -> None:
    def forgets_the_warmup(step: int, lr: float, total_steps: int, warmup_steps: int, min_lr: float) -> float:
        return warmup_cosine(step, lr, total_steps, 0, min_lr) * min(1.0, (step + 1) / (warmup_steps + 1))

    plan = {"lr": 1.0, "total_steps": 20, "warmup_steps": 10, "min_lr": 0.1}
    with pytest.raises(AssertionError):
        check_shape(values(forgets_the_warmup, **plan), 1.0, 10, 0.1, largest_drop(warmup_cosine, plan))


@given(plan=plans(), fraction=st.floats(0, 1))
def test_formulas(plan: dict[str, Any], fraction: float) -> None:
    """Equal to the formulas of the papers; p grows from 0 at the end of the warmup to 1 at the end of the run."""
    lr, end, warmup, low = plan.values()
    s = warmup + fraction * (end - warmup)
    p = (s - warmup) / (end - warmup)
    close = lambda x: pytest.approx(x, rel=FLOAT64_SUMS, abs=FLOAT64_SUMS * lr)
    assert warmup_cosine(s, **plan) == close(low + 0.5 * (lr - low) * (1 + math.cos(math.pi * p)))
    assert warmup_linear(s, **plan) == close(lr * (1 - p) + low * p)
    assert warmup_stable_decay(s, **plan, decay_steps=end - warmup) == close(lr * (1 - p) + low * p)
    assert inverse_sqrt(s, lr, warmup, low) == close(low + (lr - low) * (warmup + 1) ** 0.5 * (s + 1) ** -0.5)


def test_stable_phase_is_flat_until_the_decay() -> None:
    lrs = values(warmup_stable_decay, lr=1.0, total_steps=50, warmup_steps=5, decay_steps=20)
    assert set(lrs[5:31]) == {1.0}
    assert lrs[31] < 1.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: warmup_cosine(0, 1.0, 10, warmup_steps=11), "11 of 10 steps"),
        (lambda: warmup_linear(0, 1.0, 10, min_lr=2.0), "min_lr"),
        (lambda: warmup_cosine(0, 1.0, 10, min_lr=-1.0), "min_lr"),
        (lambda: constant(-1, 1.0), "at least 0"),
        (lambda: inverse_sqrt(5, 1.0, warmup_steps=-3), "at least 0"),
        (lambda: inverse_sqrt(5, 1.0, min_lr=2.0), "min_lr"),
    ],
)
def test_errors(call: Callable, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()
