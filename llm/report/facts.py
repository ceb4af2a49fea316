"""What a run is, in figures: its size, its end, its speed and memory beside what train.py --dry-run predicts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from llm.console import command_line
from llm.data.lab.page.html import Html, element
from llm.model import cost
from llm.report.opened import Opened
from llm.report.tables import table
from llm.runs.options import Options
from llm.training.dry_run import predict
from llm.training.memory import memory_arguments
from llm.training.setup import worker_count
from llm.training.words import words


def facts(run: Opened) -> dict[str, str]:
    """Names and values; those that are not known are left out."""
    lines = run.metrics
    losses = {line["step"]: line["val_loss"] for line in lines if line["val_loss"] is not None}
    best = min(losses, key=lambda step: losses[step], default=None)
    speeds = [line["tokens_per_second"] for line in lines if line["tokens_per_second"]]
    peaks = [line["peak_memory"] for line in run.layers if line.get("peak_memory")]
    found = {
        "parameters": f"{run.model.num_parameters():,}",
        "steps": f"{lines[-1]['step']:,} of {run.options.training.steps:,}" if lines else "none",
        "best validation loss": "none" if best is None else f"{losses[best]:.4f} at step {best:,}",
        "time in updates": f"{lines[-1]['elapsed']:,.0f} s" if lines and lines[-1]["elapsed"] is not None else "",
        "speed, median": f"{statistics.median(speeds):,.0f} tokens/s" if speeds else "",
        **predicted(run.options),
        "peak memory of the process": f"{max(peaks) / 1e6:,.0f} MB" if peaks else "",
        "made with": ", ".join(f"{name} {value}" for name, value in run.run.versions.items()),
    }
    return {name: value for name, value in found.items() if value}


def predicted(options: Options) -> dict[str, str]:
    """Speed on this machine, and memory of the arrays, as train.py --dry-run predicts them."""
    workers = worker_count(options.training, "cpu")
    speed = predict(options, "cpu", workers)
    memory = cost.training_memory(options.model, **memory_arguments(options, workers)).total
    return {
        "speed, as predicted for this machine": f"{speed.tokens / speed.seconds:,.0f} tokens/s",
        "memory of the arrays, as predicted": f"{memory / 1e6:,.0f} MB",
    }


def show(runs: Sequence[Opened]) -> Html:
    found = {run.name: facts(run) for run in runs}
    names = list(dict.fromkeys(name for of_run in found.values() for name in of_run))
    rows = [(name, *(of_run.get(name, "") for of_run in found.values())) for name in names]
    commands = [
        element("p", f"{run.name}: ", element("code", command_line("train.py", *words(run.options))), class_="about")
        for run in runs
    ]
    return element("section", table(["", *found], rows, class_="facts"), *commands)
