"""The picture of the metrics of a run: loss.png."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llm.runs.figures import add_grids, drawable, new_figure, save_figure
from llm.runs.metrics import TASK, TRAIN, VAL, is_of_objective

DRAWN = ("step", "train_loss", "val_loss", "lr", "grad_norm")
LARGEST_DRAWN = 1e30  # the ends of an axis are computed from its values, and must not overflow
SMALLEST_DRAWN = 1e-30  # smaller numbers are drawn as 0
MOST_PANELS = 8  # of other metrics
MOST_POINTS = 2000  # of a line in the picture, which is 1,080 pixels wide
BLUE, LIGHT_BLUE, ORANGE, GREY = "#2a5a9c", "#9db8d9", "#d9622b", "#444444"


def draw_losses(lines: Iterable[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw losses, learning rate and gradient norm over the steps, as a PNG file.

    A value that is no number, or too large to be drawn, is left out.
    """
    others: dict[str, array] = {}
    steps, train_loss, val_loss, lr, grad_norm = _columns(lines, others)
    tasks = _pop_tasks(others)
    names = list(dict.fromkeys(key.removeprefix(TRAIN).removeprefix(VAL) for key in others))[:MOST_PANELS]
    heights = [4, *([2] if tasks else []), *(1 for _ in names), 1, 1]
    figure = new_figure(9, sum(heights), layout="constrained")
    losses, *panels, rate, norm = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_loss(losses, title, steps, train_loss, val_loss)
    losses.set(ylabel="loss" if others else "loss (nats per token)")  # an objective with metrics has a loss of its own
    if tasks:
        _draw_tasks(panels[0], steps, tasks)
    for name, panel in zip(names, panels[bool(tasks) :], strict=True):
        _draw_metric(panel, name, steps, others)
    _draw_rate_and_norm(rate, norm, steps, lr, grad_norm)
    _set_ticks((*panels, rate, norm))
    add_grids((losses, *panels, rate, norm))
    save_figure(figure, path, dpi=120, format="png")


def _draw_loss(axis: Any, title: str, steps: np.ndarray, train: np.ndarray, val: np.ndarray) -> None:
    axis.plot(*_thinned(steps, train), color=LIGHT_BLUE, linewidth=0.7, label="training, each batch")
    points = np.unique(np.linspace(0, max(0, len(steps) - 1), MOST_POINTS).astype(int))[: len(steps)]
    axis.plot(steps[points], _smoothed(train, points), color=BLUE, label="training, smoothed")
    evaluated = np.isfinite(val)
    if evaluated.any():
        label = f"validation, last {val[evaluated][-1]:.3f}"
        axis.plot(steps[evaluated], val[evaluated], "o-", color=ORANGE, markersize=4, label=label)
    axis.set_title(drawable(title), parse_math=False)
    axis.legend(frameon=False)


def _draw_rate_and_norm(rate: Any, norm: Any, steps: np.ndarray, lr: np.ndarray, grad_norm: np.ndarray) -> None:
    rate.plot(*_thinned(steps, lr), color=GREY)
    rate.set(ylabel="learning\nrate")
    norm.plot(*_thinned(steps, grad_norm), color=GREY, linewidth=0.7)
    norm.set(ylabel="gradient\nnorm", xlabel="step", yscale=_scale(grad_norm))


def _set_ticks(axes: Sequence[Any]) -> None:
    """Steps are whole numbers. Small panels have few ticks."""
    from matplotlib.ticker import MaxNLocator

    axes[-1].xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    for axis in axes:
        if axis.get_yscale() == "linear":
            # A fixed number of ticks: the layout makes room for their labels, and labels of later ticks could be wider.
            axis.yaxis.set_major_locator(MaxNLocator(2))


def _draw_metric(axis: Any, name: str, steps: np.ndarray, columns: Mapping[str, array]) -> None:
    """Draw a metric of the objective: of all batches, and of the evaluations."""
    train, val = (np.array(columns.get(begin + name, [math.nan] * len(steps))) for begin in (TRAIN, VAL))
    axis.plot(*_thinned(steps, train), color=BLUE, linewidth=0.7)
    evaluated = np.isfinite(val)
    axis.plot(steps[evaluated], val[evaluated], "o-", color=ORANGE, markersize=3)
    axis.set_ylabel(name.replace("_", "\n"), parse_math=False)


def _draw_tasks(axis: Any, steps: np.ndarray, tasks: Mapping[str, np.ndarray]) -> None:
    """Draw how well tasks are solved, a line for each."""
    for name, values in tasks.items():
        solved = np.isfinite(values)
        label = drawable(f"{values[solved][-1]:.3f} {name}")
        axis.plot(steps[solved], values[solved], "o-", markersize=3, label=label)
    axis.set_ylabel("tasks")
    legend = axis.legend(frameon=False, fontsize="small", ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    for text in legend.get_texts():
        text.set_parse_math(False)


def _pop_tasks(others: dict[str, array]) -> dict[str, np.ndarray]:
    """The columns of tasks that were solved at least once, taken out of `others`."""
    scores = {key.removeprefix(TASK): np.array(others.pop(key)) for key in list(others) if key.startswith(TASK)}
    return {name: values for name, values in scores.items() if np.isfinite(values).any()}


def _columns(lines: Iterable[Mapping[str, Any]], others: dict[str, array]) -> np.ndarray:
    """The values of DRAWN as columns, (5, steps) float64, with NaN where there is none: matplotlib leaves NaN out.

    The columns of metrics of the objective are added to `others`.
    """
    values = array("d")  # 8 bytes a value, not the 24 and more of Python's numbers
    for number, line in enumerate(lines):
        values.extend(_number(line[name]) for name in DRAWN)
        for name in filter(is_of_objective, line):
            others.setdefault(name, array("d", [math.nan] * number)).append(_number(line[name]))
        for column in others.values():
            column.extend([math.nan] * (number + 1 - len(column)))
    return np.array(values).reshape(-1, len(DRAWN)).T


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) <= LARGEST_DRAWN:
        return math.nan
    return float(value) if abs(value) >= SMALLEST_DRAWN else 0.0


def _scale(values: np.ndarray) -> str:
    """Logarithmic, if there is a power of 10 between the values; otherwise its axis would have no label."""
    positive = values[values > 0]
    return "log" if positive.size and positive.max() > 10 * positive.min() else "linear"


def _smoothed(values: np.ndarray, at: Iterable[int] | None = None) -> np.ndarray:
    """For each value, the mean of it and its neighbours, as many before as after. Missing values (NaN) do not count.

    So where the losses fall in a straight line, the mean is on this line. (An exponential moving average, which is a
    mean of earlier values, is above it.) `at`: the indices for which means are wanted; None: all.
    """
    means = []
    for i in range(len(values)) if at is None else at:
        # Up to a 25th of all values on each side. Near the ends there are fewer.
        reach = min(i, len(values) - 1 - i, len(values) // 25)
        window = values[i - reach : i + reach + 1]
        present = window[np.isfinite(window)]
        means.append(present.mean() if present.size else math.nan)
    return np.array(means)


def _thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most MOST_POINTS points that look the same in the picture: the smallest and largest value of each group."""
    size = -(-len(values) * 2 // MOST_POINTS)  # of a group, rounded up
    if size <= 2:
        return steps, values
    starts = np.arange(0, len(values), size)
    # fmin and fmax ignore NaN, except where a whole group is NaN.
    extremes = [f.reduceat(values, starts) for f in (np.fmin, np.fmax)]
    return np.repeat(steps[starts], 2), np.stack(extremes, axis=1).ravel()
