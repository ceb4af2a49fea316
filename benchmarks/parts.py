"""Where the time of a training step on the CPU goes, beside what the arithmetic alone would take.

    python -m benchmarks.parts --help

The rows of the table add up to the step:

    arithmetic              all its operations, at the rate of large matrix products (benchmarks/peers/limits.py)
    shapes of the maps      what the products of the linear maps take longer, because they are smaller; measured alone
    beside the products     the rest of what holds these products: bias, activation, loss
    attention               beside its arithmetic, in which no pair of tokens is left out
    norms, rotation         LayerNorm, RMSNorm, RoPE
    clipping, AdamW
    everything else         other operations, Python between them, waiting for the other worker
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import machine
from benchmarks.comparison import Spread, parse_names, start_competitors, take_turns
from benchmarks.peers.limits import SIDE
from benchmarks.peers.parts import GROUPS, linear_shapes
from benchmarks.task import TRAINING, Task
from llm.model.config import GPTConfig
from llm.model.cost import training_flops

COMPETITORS = {
    "ceiling": "limits:our_matmul",
    "step": "ours:train",
    "products": "parts:products",
    "profiled": "parts:profiled",
}


@dataclass(frozen=True)
class Options(machine.Settings):
    """Take a training step apart: how long its parts take, and how long its arithmetic would take alone."""

    config: str = "a,b"
    """Which models, separated by commas: a, b, c, c1k, llama-a, llama-b (see benchmarks/task.py)."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.parts")
    names, threads = parse_names(options.config, TRAINING, "--config"), options.begin()
    results = [measure(name, threads, options) for name in names]
    print("\n".join(map(json.dumps, results) if options.json else [*results[-1]["machine"], "", *table(results)]))


def measure(name: str, threads: int, options: Options) -> dict[str, Any]:
    """The milliseconds of each row, which add up to the step, and lines that describe the machine."""
    config, batch = TRAINING[name]
    settings = machine.environment(options.blas, threads)
    with tempfile.TemporaryDirectory() as folder:
        Task(Path(folder), config, batch, threads).write()
        with start_competitors(COMPETITORS, Path(folder), settings) as (competitors, _):
            times = take_turns(competitors, options.rounds, options.seconds, ["seconds", *GROUPS])
            libraries = [each.libraries for each in competitors]
    medians = {what: {who: Spread.of(rounds).median for who, rounds in found.items()} for what, found in times.items()}
    parts = split(config, batch, medians.pop("seconds"), {group: found["profiled"] for group, found in medians.items()})
    return {
        "config": name,
        "milliseconds": {part: 1e3 * seconds for part, seconds in parts.items()},
        "machine": machine.describe(libraries, settings, threads),
    }


def split(config: GPTConfig, batch: int, seconds: dict[str, float], groups: dict[str, float]) -> dict[str, float]:
    """The seconds of each row. `seconds`: of the competitors; `groups`: of the ops in a worker (peers/parts.py)."""
    rate, tokens = 2 * SIDE["cpu"] ** 3 / seconds["ceiling"], batch * config.context  # FLOP/s of the ceiling
    whole = training_flops(config) * tokens / rate
    maps = 6 * tokens * sum(out * width for out, width in linear_shapes(config)) / rate
    parts = {
        "arithmetic": whole,
        "shapes of the maps": seconds["products"] - maps,
        "beside the products": groups["maps"] - seconds["products"],
        "attention": groups["attention"] - (whole - maps),
        "norms, rotation": groups["norms"],
        "clipping, AdamW": groups["update"],
    }
    return parts | {"everything else": seconds["step"] - sum(parts.values())}


def table(results: list[dict[str, Any]]) -> list[str]:
    """A column for each configuration: milliseconds, and in brackets the share of the step."""
    columns = [list(result["milliseconds"].values()) for result in results]
    rows = [["ms", *(result["config"] for result in results)], ["---"] * (1 + len(results))]
    for part, *numbers in zip(results[0]["milliseconds"], *columns):
        rows.append([part, *(f"{ms:.1f} ({ms / sum(column):.0%})" for ms, column in zip(numbers, columns))])
    rows.append(["the step", *(f"{sum(column):.1f}" for column in columns)])
    return [f"| {' | '.join(row)} |" for row in rows]


if __name__ == "__main__":
    machine.run(main, "benchmarks.parts")
