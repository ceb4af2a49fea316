"""Writing with a key-value cache, and reading a prompt, beside PyTorch (eager, float32): python -m benchmarks.decode
--help.

A token needs every weight once, so it cannot take less time than reading them all, and the cache, from memory: the
bound.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks import machine
from benchmarks.peers import rates
from benchmarks.peers.writing import PROMPT, READ, WRITTEN
from benchmarks.task import DECODING, Device, Task
from benchmarks.turns import Spread, check_same, chosen, contestants, ratios, ratios_of_best, take_turns
from llm.model.config import GPTConfig
from llm.model.cost import cache_bytes, parameters
from minigrad.backend import pick_device

TOLERANCE = 1e-3  # of logits
WORKS = {"write-1": ("decode", 1), "write-8": ("decode", 8), "read": ("prefill", 1)}  # function, batch


@dataclass(frozen=True)
class Options(machine.Settings):
    """Compare writing with a key-value cache (one text; eight at a time) and reading a prompt with PyTorch, in
    turns.
    """

    config: str = "124m,384,128"
    """Which models, with commas between: 124m (GPT-2), 384 and 128 (their widths)."""
    work: str = "write-1,write-8,read"
    """What they do, with commas between: write one text, eight at a time, read a prompt."""
    device: Device = "cpu"
    """cpu, or cuda for minigrad on CuPy beside torch on the same GPU."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.decode")
    configs, works = chosen(options.config, DECODING, "--config"), chosen(options.work, WORKS, "--work")
    threads = options.begin()
    pick_device(options.device)  # or a sentence: it is not there
    for number, name in enumerate(configs):
        results = [compare(name, work, threads, options) for work in works]
        if not options.json:
            print(table(results, header=number == 0), flush=True)
        for result in results if options.json else []:
            print(json.dumps(result), flush=True)


def compare(name: str, work: str, threads: int, options: Options) -> dict[str, Any]:
    """Measure one model at one work. Raises Void when the logits differ."""
    config, (function, batch) = DECODING[name], WORKS[work]
    settings = machine.environment(options.blas, threads)
    with tempfile.TemporaryDirectory() as folder:
        task = Task(Path(folder), config, batch, threads, options.device).write(texts=1)
        functions = {"ours": f"ours:{function}", "torch": f"pytorch:{function}", "memory": "rates:memory_reading"}
        with contestants(functions, task.folder, settings) as (everybody, skipped):
            check_same([each for each in everybody if each.name != "memory"], 2, "logit", TOLERANCE)
            times = take_turns(everybody, options.rounds, options.seconds)["seconds"]
            libraries = [each.libraries for each in everybody]
    bandwidth = rates.READ[options.device] / Spread.of(times.pop("memory")).least
    tokens = batch * WRITTEN if function == "decode" else min(READ, config.context)
    speed = {who: tokens / Spread.of(values).median for who, values in times.items()}
    bound = batch * bandwidth / bytes_read(config, batch) if function == "decode" else None
    return {
        "config": name,
        "work": work,
        "ratio": {who: spread.median for who, spread in ratios(times, "ours").items()},
        "ratio_of_best": ratios_of_best(times, "ours"),
        "ratio_spread": {who: vars(spread) for who, spread in ratios(times, "ours").items()},
        "tokens_per_second": speed,
        "bytes_per_second": bandwidth,
        "share_of_bound": bound and {who: each / bound for who, each in speed.items()},
        "skipped": skipped,
        "blas": options.blas,
        "machine": machine.describe(libraries, settings, threads, options.device),
    }


def bytes_read(config: GPTConfig, batch: int) -> float:
    """What a step reads at least: all weights that multiply, and the cache at half of the tokens written."""
    counts = parameters(replace(config, tied_head=True))
    return 4 * (counts.total - counts.positions) + cache_bytes(config, PROMPT + WRITTEN // 2, batch)


def table(results: list[dict[str, Any]], header: bool) -> str:
    """The measurements of one model for people."""
    lines = [*results[0]["machine"], ""] if header else []
    lines.append(f"{results[0]['config']}: memory is read at {results[0]['bytes_per_second'] / 1e9:.0f} GB/s")
    lines.append(
        "            ours tok/s  torch tok/s  times torch      min      max  of best   ours of bound  torch of bound"
    )
    for result in results:
        speed, spread, share = (
            result["tokens_per_second"],
            result["ratio_spread"].get("torch"),
            result["share_of_bound"],
        )
        line = f"{result['work']:<10} {speed['ours']:11,.0f}"
        if spread:
            line += (
                f" {speed['torch']:12,.0f} {spread['median']:12.2f} {spread['least']:8.2f} {spread['most']:8.2f} "
                f"{result['ratio_of_best']['torch']:8.2f}"
            )
        lines.append(line + "".join(f" {share[who]:15.0%}" for who in share or {}))
    return "\n".join([*lines, *(f"{who} did not take part: {why}" for who, why in results[0]["skipped"].items()), ""])


if __name__ == "__main__":
    machine.run(main, "benchmarks.decode")
