"""What a run is, in figures: its size, its end, its speed and memory beside what train.py --dry-run predicts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from llm.data.lab.page.html import Html, element
from llm.model import cost
from llm.runs.options import Options

Line = Mapping[str, Any]  # of metrics.jsonl


def facts(options: Options, lines: Sequence[Line], numbers: int) -> dict[str, str]:
    """`numbers`: of the parameters of the model."""
    losses = {line["step"]: line["val_loss"] for line in lines if line["val_loss"] is not None}
    best = min(losses, key=lambda step: losses[step], default=None)
    speeds = [line["tokens_per_second"] for line in lines if line["tokens_per_second"]]
    training = options.training
    memory = cost.training_memory(options.model, -(-training.batch_size // training.micro_batches)).total
    found = {
        "parameters": f"{numbers:,}",
        "steps": f"{lines[-1]['step']:,} of {training.steps:,}" if lines else "none",
        "best validation loss": "none" if best is None else f"{losses[best]:.4f} at step {best:,}",
        "time of the updates": f"{lines[-1]['elapsed']:,.0f} s" if lines else "",
        "median speed": f"{statistics.median(speeds):,.0f} tokens/s" if speeds else "",
        "memory, as predicted": f"{memory / 1e6:,.0f} MB",
    }
    return {name: value for name, value in found.items() if value}


def changed_options(options: Options, preset: Options) -> list[str]:
    """The options that differ from those of the preset, as words of a command line."""
    words = ["python train.py", *([f"--preset {options.training.preset}"] if options.training.preset else [])]
    for part, other in ((options.training, preset.training), (options.model, preset.model)):
        for name, value in vars(part).items():
            if value != getattr(other, name) and name != "preset":
                words.append(f"--{name.rstrip('_').replace('_', '-')} {value}")
    return words


def show(runs: Mapping[str, Mapping[str, str]], commands: Mapping[str, str], versions: str) -> Html:
    names = list(dict.fromkeys(name for found in runs.values() for name in found))
    head = element("tr", element("th", ""), *(element("th", run) for run in runs))
    rows = [
        element("tr", element("th", name), *(element("td", found.get(name, "")) for found in runs.values()))
        for name in names
    ]
    table = element("table", element("thead", head), element("tbody", *rows))
    told = [element("p", f"{run}: ", element("code", command), class_="about") for run, command in commands.items()]
    return element("section", table, *told, element("p", versions, class_="note"))
