"""Writing with a key-value cache, and reading a prompt, beside PyTorch (eager, float32).

    python -m benchmarks.decode --help

Each new token needs all weights and the cache once. So it cannot take less time than reading them from memory: that is
the bound.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks import machine
from benchmarks.comparison import Spread, check_same, parse_names, ratio_summary, start_competitors, take_turns
from benchmarks.peers import limits
from benchmarks.peers.decoding import PROMPT, READ, WRITTEN
from benchmarks.task import DECODING, Task
from llm.model.config import GPTConfig
from llm.model.cost import cache_bytes, parameters

TOLERANCE = 1e-3  # of logits
WORKS = {"write-1": ("decode", 1), "write-8": ("decode", 8), "read": ("prefill", 1)}  # function, batch


@dataclass(frozen=True)
class Options(machine.DeviceSettings):
    """Compare writing with a key-value cache (one text, or eight at a time) and reading a prompt with PyTorch, in
    turns.
    """

    config: str = "124m,384,128"
    """Which models, separated by commas: 124m (GPT-2), 384 and 128 (their widths)."""
    work: str = "write-1,write-8,read"
    """What to measure, separated by commas: writing one text, writing eight at a time, reading a prompt."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.decode")
    configs, works = parse_names(options.config, DECODING, "--config"), parse_names(options.work, WORKS, "--work")
    threads = options.begin()
    for number, name in enumerate(configs):
        results = [compare(name, work, threads, options) for work in works]
        texts = map(json.dumps, results) if options.json else [table(results, header=number == 0)]
        print(*texts, sep="\n", flush=True)


def compare(name: str, work: str, threads: int, options: Options) -> dict[str, Any]:
    """Measure one kind of work of one model. Raises Mismatch if the logits differ."""
    config, (function, batch) = DECODING[name], WORKS[work]
    settings = machine.environment(options.blas, threads)
    functions = {"ours": f"ours:{function}", "torch": f"pytorch:{function}", "memory": "limits:memory_reading"}
    with tempfile.TemporaryDirectory() as folder:
        Task(Path(folder), config, batch, threads, options.device).write(batches=1)
        with start_competitors(functions, Path(folder), settings) as (competitors, skipped):
            check_same([each for each in competitors if each.name != "memory"], 2, "logit", TOLERANCE)
            times = take_turns(competitors, options.rounds, options.seconds)["seconds"]
            libraries = [each.libraries for each in competitors]
    bandwidth = limits.READ[options.device] / Spread.of(times.pop("memory")).least
    tokens = batch * WRITTEN if function == "decode" else min(READ, config.context)
    speed = {library: tokens / Spread.of(values).median for library, values in times.items()}
    bound = batch * bandwidth / bytes_read(config, batch) if function == "decode" else None
    return {
        "config": name,
        "work": work,
        **ratio_summary(times),
        "tokens_per_second": speed,
        "bytes_per_second": bandwidth,
        "share_of_bound": bound and {library: each / bound for library, each in speed.items()},
        "skipped": skipped,
        "blas": options.blas,
        "machine": machine.describe(libraries, settings, threads, options.device),
    }


def bytes_read(config: GPTConfig, batch: int) -> float:
    """The least that a step reads: all weights that multiply, and the cache when half of the tokens are written."""
    counts = parameters(replace(config, tied_head=True))
    return 4 * (counts.total - counts.positions) + cache_bytes(config, PROMPT + WRITTEN // 2, batch)


def table(results: list[dict[str, Any]], *, header: bool) -> str:
    """The results of one model as text."""
    first = results[0]
    lines = [*first["machine"], ""] if header else []
    lines += [
        f"{first['config']}: memory is read at {first['bytes_per_second'] / 1e9:.0f} GB/s",
        "            ours tok/s  torch tok/s  times torch      min      max  of best   ours of bound  torch of bound",
        *map(_row, results),
        *(f"{library} did not take part: {reason}" for library, reason in first["skipped"].items()),
    ]
    return "\n".join([*lines, ""])


def _row(result: dict[str, Any]) -> str:
    speed, share = result["tokens_per_second"], result["share_of_bound"] or {}
    row = f"{result['work']:<10} {speed['ours']:11,.0f}"
    if "torch" in speed:
        spread, of_best = result["ratio_spread"]["torch"], result["ratio_of_best"]["torch"]
        row += f" {speed['torch']:12,.0f} {spread['median']:12.2f} {spread['least']:8.2f} {spread['most']:8.2f}"
        row += f" {of_best:8.2f}"
    return row + "".join(f" {share[library]:15.0%}" for library in share)


if __name__ == "__main__":
    machine.run(main, "benchmarks.decode")
