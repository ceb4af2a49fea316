"""Plans as a table, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from llm.model.config import GPTConfig
from llm.parallel.pipeline.timeline import expected_bubble
from llm.parallel.plan.search import Plan
from llm.parallel.plan.split import Split
from llm.parallel.plan.timing import Machine

HEAD = (
    "data",
    "tensor",
    "pipeline",
    "rows",
    "micro",
    "zero",
    "recompute",
    "GB",
    "seconds",
    "tokens/s",
    "of peak",
    "bubble",
)
LEGEND = """\
data x tensor x pipeline: ranks in each direction; rows: of a micro-batch; micro: micro-batches of a step;
zero: what is divided among data ranks; recompute: whether layers are computed again in the backward pass; GB: memory
of a rank; of peak: operations of the model, as a part of what the GPUs could do at their peak; bubble: part of the time
in which pipeline ranks wait. Tensor ranks divide the tokens between the layers (sequence parallelism).
The times predicted for published runs were between 10% too short and 15% too long (docs/PARALLEL.md)."""
COLORS = {"compute": "#2a5a9c", "tensor": "#d98032", "pipeline": "#5aa469", "bubble": "#c9c9c9", "data": "#9a5a9c",
          "update": "#7a5a3c"}  # fmt: skip


def table(plans: Sequence[Plan], config: GPTConfig, batch_size: int, context: int, machine: Machine) -> str:
    """A line for each plan."""
    rows = [HEAD, *(_row(plan, config, batch_size, context, machine) for plan in plans)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths)) for row in rows)


def _row(plan: Plan, config: GPTConfig, batch_size: int, context: int, machine: Machine) -> tuple[str, ...]:
    split, micro_batches = plan.split, plan.split.micro_batches(batch_size)
    return (
        str(split.data), str(split.tensor), str(split.pipeline) + (f" x {split.chunks}" if split.chunks > 1 else ""),
        str(split.rows), str(micro_batches), str(split.zero), "yes" if split.recompute else "no",
        f"{plan.memory.total / 1e9:.1f}", f"{plan.time.total:.3g}",
        f"{plan.tokens_per_second(batch_size, context):,.0f}",
        f"{plan.of_peak(config, batch_size, context, machine):.1%}",
        f"{expected_bubble(split.pipeline, micro_batches, split.chunks):.1%}",
    )  # fmt: skip


def describe(plan: Plan) -> list[str]:
    """Lines on where the memory and the time of a plan go."""
    parts = {
        "memory a rank": [(f.name, f"{getattr(plan.memory, f.name) / 1e9:.2f} GB") for f in fields(plan.memory)],
        "time of a step": [(f.name, f"{getattr(plan.time, f.name):.3g} s") for f in fields(plan.time)],
    }
    return [f"{title:<15} " + ", ".join(f"{name} {value}" for name, value in each) for title, each in parts.items()]


def flags(split: Split, batch_size: int) -> str:
    """The options of train.py for a split."""
    found = [f"--data-parallel {split.data} --tensor-parallel {split.tensor} --pipeline-parallel {split.pipeline}"]
    found.append(f"--batch-size {batch_size} --micro-batches {split.micro_batches(batch_size)}")
    found += [f"--zero {split.zero}"] * (split.zero > 0) + ["--sequence-parallel"] * split.sequence
    return " ".join([*found, *["--recompute"] * split.recompute])


def draw(plans: Sequence[Plan], path: str | Path, title: str) -> None:
    """Save a picture: a bar for each plan, the seconds of a step by kind; beside it the memory of a rank."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.5 + 0.4 * len(plans)), layout="constrained")
    FigureCanvasAgg(figure)
    times, memory = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    left = [0.0] * len(plans)
    for name, color in COLORS.items():
        seconds = [getattr(plan.time, name) for plan in plans]
        times.barh(range(len(plans)), seconds, left=left, color=color, label=name)
        left = [a + b for a, b in zip(left, seconds)]
    memory.barh(range(len(plans)), [plan.memory.total / 1e9 for plan in plans], color="#9db8d9")
    times.set_yticks(range(len(plans)), [_label(plan.split) for plan in plans])
    times.invert_yaxis()
    times.set_xlabel("seconds of a step, predicted")
    memory.set_xlabel("GB of memory of a rank")
    times.legend(ncols=len(COLORS), fontsize="small", loc="lower left", bbox_to_anchor=(0, 1))
    figure.suptitle(f"{title}: data x tensor x pipeline ranks")
    figure.savefig(str(path), dpi=120)


def _label(split: Split) -> str:
    again = ", recompute" if split.recompute else ""
    return f"{split.data} x {split.tensor} x {split.pipeline}, rows {split.rows}, zero {split.zero}{again}"
