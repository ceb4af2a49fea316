"""The numbers of a run, a line a step in metrics.jsonl, and their picture."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from llm.runs.files import new_file, write_file

FIELDS = ("step", "train_loss", "val_loss", "lr", "grad_norm", "tokens_per_second", "elapsed")


class Metrics:
    """The file metrics.jsonl: one JSON object a step, with the keys of FIELDS.

    `val_loss` is null except after an evaluation. `tokens_per_second` and `elapsed` (seconds, over all resumes) count
    updates only.
    """

    def __init__(self, path: Path, steps: int):
        """Go on after the first `steps` lines; what a resumed run will do again is dropped, and so is a line that a
        kill cut short.
        """
        self.path = path
        self.lines = [line for line in read_metrics(path) if line["step"] <= steps]
        write_file(path, "".join(json.dumps(line) + "\n" for line in self.lines))
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - held open for as long as the run

    def add(self, **line: Any) -> None:
        """Append a line. What is not finite becomes null: JSON has no NaN."""
        row = {name: line[name] for name in FIELDS}
        row = {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}
        self.lines.append(row)
        self.file.write(json.dumps(row) + "\n")

    def flush(self) -> None:
        """Force all lines to the disk. To be called before a checkpoint is saved: a resumed run expects the lines up to
        it.
        """
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics.jsonl; none if there is no such file."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and set(FIELDS) <= line.keys() and isinstance(line["step"], int):
            lines.append(line)
    return lines


def draw_losses(lines: list[dict[str, Any]], path: Path, title: str) -> None:
    """A picture of losses, learning rate and norm of the gradient over the steps, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rate, norm = figure.subplots(3, 1, sharex=True, height_ratios=[4, 1, 1])
    column = {name: [line[name] for line in lines] for name in FIELDS}
    losses.plot(
        column["step"], _gaps(column["train_loss"]), color="#9db8d9", linewidth=0.7, label="training, each batch"
    )
    losses.plot(column["step"], _smoothed(column["train_loss"]), color="#2a5a9c", label="training, smoothed")
    evaluated = [(line["step"], line["val_loss"]) for line in lines if line["val_loss"] is not None]
    if evaluated:
        losses.plot(
            *zip(*evaluated), "o-", color="#d9622b", markersize=4, label=f"validation, last {evaluated[-1][1]:.3f}"
        )
    losses.set(ylabel="loss (nats per token)", title=title)
    losses.legend(frameon=False)
    rate.plot(column["step"], column["lr"], color="#444444")
    rate.set(ylabel="learning rate")
    norm.plot(
        column["step"], _gaps([value or None for value in column["grad_norm"]]), color="#444444", linewidth=0.7
    )  # 0 has no logarithm
    norm.set(ylabel="gradient norm", xlabel="step", yscale="log")
    for axis in (losses, rate, norm):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    with new_file(path) as partial:
        figure.savefig(partial, dpi=120, format="png")


def _gaps(values: list) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _smoothed(values: list, memory: float = 0.95) -> list[float]:
    """Exponential moving average, corrected for its start as in Adam; a missing value repeats the average."""
    out, total, weight = [], 0.0, 0.0
    for value in values:
        if value is not None:
            total, weight = memory * total + (1 - memory) * value, memory * weight + (1 - memory)
        out.append(total / weight if weight else math.nan)
    return out
