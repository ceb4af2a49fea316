"""The metrics of a run: one line for each step in metrics.jsonl, and a picture of them, loss.png."""

from __future__ import annotations

import json
import math
import os
import warnings
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llm.runs.errors import RunError
from llm.runs.files import open_regular
from tokenizer.formats.atomic import new_file

LONGEST_LINE = 1 << 16  # bytes: a line has about 200
FIELDS = ("step", "train_loss", "val_loss", "lr", "grad_norm", "tokens_per_second", "elapsed")
IF_ANY = ("expert_shares",)  # keys that not all lines have
DRAWN = ("step", "train_loss", "val_loss", "lr", "grad_norm")
LARGEST_DRAWN = 1e30  # the ends of an axis are computed from its values, and must not overflow
SMALLEST_DRAWN = 1e-30  # smaller numbers are drawn as 0
TRAIN, VAL = "train_", "val_"  # what the names of other metrics begin with, such as train_accuracy and val_accuracy
MOST_PANELS = 8  # of other metrics in the picture
MOST_POINTS = 2000  # of a line in the picture, which is 1,080 pixels wide


class Metrics:
    """The file metrics.jsonl: one JSON object for each step, with the keys FIELDS.

    `val_loss` is null except after an evaluation. If the model has experts, the line of an evaluation has the key
    `expert_shares` too: for each layer, the shares of the tokens of its least and its most used expert. Other metrics
    of an objective have keys such as `train_accuracy` and, in the lines of evaluations, `val_accuracy`.
    `tokens_per_second` and `elapsed` measure only the updates, without evaluations, samples and checkpoints. `elapsed`
    is in seconds, and goes on when a run is resumed.
    """

    def __init__(self, path: Path, steps: int):
        """Keep the lines of the first `steps` steps, and append to them. All other lines are dropped.

        Steps after the last checkpoint are done again when a run is resumed, and get new lines. A kill may also have
        left half a line.
        """
        self.path = path
        found = 0
        # Line by line: the lines of a long run take much memory.
        with new_file(path) as partial, open(partial, "w", encoding="utf-8") as file:
            for line in iterate_metrics(path):
                found += 1
                if line["step"] <= steps:
                    file.write(json.dumps(line) + "\n")
            self.unreadable = max(0, _count_lines(path) - found)  # how many are damaged, or not a line of metrics
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115  until `close`

    def add(self, **line: Any) -> None:
        """Append a line. Numbers that are not finite become null, because JSON has no NaN."""
        row = {name: line[name] for name in FIELDS}
        row |= {name: value for name, value in line.items() if is_of_objective(name)}
        row = {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}
        row |= {name: line[name] for name in IF_ANY if line.get(name)}
        self.file.write(json.dumps(row) + "\n")

    def flush(self) -> None:
        """Force all lines to the disk. Call this before a checkpoint is saved, so that all its steps have a line."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl that are complete; none if there is no such file.

    Raises RunError when it is no file, or cannot be read.
    """
    return list(iterate_metrics(path))


def iterate_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of `read_metrics`, one after the other."""
    try:
        with open_regular(path) as file:
            # A longer line is read in parts. No part is valid JSON, so it is left out.
            while text := file.readline(LONGEST_LINE):
                if not text.startswith(b"{"):
                    continue
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):  # RecursionError: a thousand brackets inside each other
                    continue
                if isinstance(line, dict) and set(FIELDS) <= line.keys() and type(line["step"]) is int:
                    yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); delete it, or put the right one back") from None


def named(begin: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of an objective as keys of a line. `begin`: TRAIN or VAL."""
    return {begin + name: value for name, value in metrics.items()}


def is_of_objective(key: str) -> bool:
    """Whether a key of a line is that of a metric of the objective."""
    return key.startswith((TRAIN, VAL)) and key not in FIELDS


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


# --- the picture ------------------------------------------------------------------------------------------------------


def draw_losses(lines: Iterable[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw losses, learning rate and gradient norm over the steps, as a PNG file.

    A value that is no number, or too large to be drawn, is left out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    others: dict[str, array] = {}
    steps, train_loss, val_loss, lr, grad_norm = _columns(lines, others)
    names = list(dict.fromkeys(key.removeprefix(TRAIN).removeprefix(VAL) for key in others))[:MOST_PANELS]
    figure = Figure(figsize=(9, 6 + len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    losses, *panels, rate, norm = figure.subplots(
        3 + len(names), 1, sharex=True, height_ratios=[4, *(1 for _ in names), 1, 1]
    )
    for name, panel in zip(names, panels, strict=True):
        _draw_metric(panel, name, steps, others)
    losses.plot(*_thinned(steps, train_loss), color="#9db8d9", linewidth=0.7, label="training, each batch")
    points = np.unique(np.linspace(0, max(0, len(steps) - 1), MOST_POINTS).astype(int))[: len(steps)]
    losses.plot(steps[points], _smoothed(train_loss, points), color="#2a5a9c", label="training, smoothed")
    evaluated = np.isfinite(val_loss)
    if evaluated.any():
        label = f"validation, last {val_loss[evaluated][-1]:.3f}"
        losses.plot(steps[evaluated], val_loss[evaluated], "o-", color="#d9622b", markersize=4, label=label)
    losses.set(ylabel="loss" if others else "loss (nats per token)")  # an objective with metrics has a loss of its own
    # The title is the name of a folder: "$" in it begins no formula, and bytes that are not UTF-8 become "?".
    losses.set_title(title.encode("utf-8", "replace").decode(), parse_math=False)
    losses.legend(frameon=False)
    rate.plot(*_thinned(steps, lr), color="#444444")
    rate.set(ylabel="learning\nrate")
    norm.plot(*_thinned(steps, grad_norm), color="#444444", linewidth=0.7)
    norm.set(ylabel="gradient\nnorm", xlabel="step", yscale=_scale(grad_norm))
    norm.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    for axis in (*panels, rate, norm):
        if axis.get_yscale() == "linear":
            # A fixed number of ticks: the layout makes room for their labels, and labels of later ticks could be wider.
            axis.yaxis.set_major_locator(MaxNLocator(2))
    for axis in (losses, *panels, rate, norm):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    with new_file(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the font may lack a letter of the title: a box stands in its place
        figure.savefig(partial, dpi=120, format="png")


def _draw_metric(axis: Any, name: str, steps: np.ndarray, columns: Mapping[str, array]) -> None:
    """Draw a metric of the objective: of all batches, and of the evaluations."""
    train, val = (np.array(columns.get(begin + name, [math.nan] * len(steps))) for begin in (TRAIN, VAL))
    axis.plot(*_thinned(steps, train), color="#2a5a9c", linewidth=0.7)
    evaluated = np.isfinite(val)
    axis.plot(steps[evaluated], val[evaluated], "o-", color="#d9622b", markersize=3)
    axis.set_ylabel(name.replace("_", "\n"), parse_math=False)


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
