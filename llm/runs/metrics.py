"""The metrics of a run: one line for each step in metrics.jsonl, and a picture of them, loss.png."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from llm.runs.errors import RunError
from llm.runs.files import open_regular
from tokenizer.formats.atomic import new_file, write_file

LONGEST_LINE = 1 << 16  # bytes: a line has about 200
FIELDS = ("step", "train_loss", "val_loss", "lr", "grad_norm", "tokens_per_second", "elapsed")


class Metrics:
    """The file metrics.jsonl: one JSON object for each step, with the keys FIELDS.

    `val_loss` is null except after an evaluation. `tokens_per_second` and `elapsed` measure only the updates, without
    evaluations, samples and checkpoints. `elapsed` is in seconds, and goes on when a run is resumed.
    """

    def __init__(self, path: Path, steps: int):
        """Keep the lines of the first `steps` steps, and append to them. All other lines are dropped.

        Steps after the last checkpoint are done again when a run is resumed, and get new lines. A kill may also have
        left half a line.
        """
        self.path = path
        self.lines = [line for line in read_metrics(path) if line["step"] <= steps]
        write_file(path, "".join(json.dumps(line) + "\n" for line in self.lines))
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115  until `close`

    def add(self, **line: Any) -> None:
        """Append a line. Numbers that are not finite become null, because JSON has no NaN."""
        row = {name: line[name] for name in FIELDS}
        row = {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}
        self.lines.append(row)
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
    lines = []
    try:
        with open_regular(path) as file:
            while text := file.readline(LONGEST_LINE):  # what is longer is read in parts, of which none is a line
                if not text.startswith(b"{"):
                    continue
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):  # RecursionError: a thousand brackets
                    continue
                if isinstance(line, dict) and set(FIELDS) <= line.keys() and type(line["step"]) is int:
                    lines.append(line)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); delete it, or put the right one back") from None
    return lines


def draw_losses(lines: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draw losses, learning rate and gradient norm over the steps, as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rate, norm = figure.subplots(3, 1, sharex=True, height_ratios=[4, 1, 1])
    column = {name: [line[name] for line in lines] for name in FIELDS}
    steps, train_loss = column["step"], column["train_loss"]
    losses.plot(steps, _gaps(train_loss), color="#9db8d9", linewidth=0.7, label="training, each batch")
    losses.plot(steps, _smoothed(train_loss), color="#2a5a9c", label="training, smoothed")
    evaluated = [(line["step"], line["val_loss"]) for line in lines if line["val_loss"] is not None]
    if evaluated:
        label = f"validation, last {evaluated[-1][1]:.3f}"
        losses.plot(*zip(*evaluated), "o-", color="#d9622b", markersize=4, label=label)
    losses.set(ylabel="loss (nats per token)", title=title)
    losses.legend(frameon=False)
    rate.plot(steps, column["lr"], color="#444444")
    rate.set(ylabel="learning rate")
    positive_norms = [value or None for value in column["grad_norm"]]  # 0 has no logarithm
    norm.plot(steps, _gaps(positive_norms), color="#444444", linewidth=0.7)
    norm.set(ylabel="gradient norm", xlabel="step", yscale="log")
    for axis in (losses, rate, norm):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    with new_file(path) as partial:
        figure.savefig(partial, dpi=120, format="png")


def _gaps(values: list) -> list[float]:
    """NaN, which matplotlib leaves out, where there is no value."""
    return [math.nan if value is None else value for value in values]


def _smoothed(values: list, memory: float = 0.95) -> list[float]:
    """Exponential moving average. Where a value is missing, the average stays the same."""
    # `total` begins at 0, and is too small at first. Dividing by the sum of the weights corrects that, as in Adam.
    out, total, weight = [], 0.0, 0.0
    for value in values:
        if value is not None:
            total, weight = memory * total + (1 - memory) * value, memory * weight + (1 - memory)
        out.append(total / weight if weight else math.nan)
    return out
