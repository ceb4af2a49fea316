"""A training step on 1, 2, ... threads, and a model of what more cores would do (scaling_model.py): python -m
benchmarks.scaling --help.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks import machine
from benchmarks.contestant import Contestant
from benchmarks.peers.rates import READ
from benchmarks.scaling_model import CORES, WAY_OUT, Model, fastest, predict
from benchmarks.task import TRAINING, Task
from benchmarks.train import TOLERANCE
from benchmarks.turns import Spread, check_same, chosen, contestants, ratios, take_turns
from llm.model.config import GPTConfig
from llm.model.cost import parameters
from llm.parallel.selection import processes_are_faster

SAME_STEPS = 2


@dataclass(frozen=True)
class Options(machine.Settings):
    """Measure a training step on 1, 2, ... cores, in turns, and model 8 and 64 cores."""

    config: str = "a,b"
    """Which models, with commas between: a, b, c, c1k, llama-a, llama-b (see benchmarks/task.py)."""
    memory: float = 200.0
    """GB/s that all cores of the larger machine have together (assumed, not measured: a server's memory)."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.scaling")
    configs = chosen(options.config, TRAINING, "--config")
    if options.memory <= 0:
        raise ValueError(f"--memory must be above 0, got {options.memory:g}")
    threads = options.begin()
    for config in configs:
        result = measure(config, threads, options)
        print(json.dumps(result) if options.json else table(result), flush=True)


def measure(name: str, threads: int, options: Options) -> dict[str, Any]:
    """Measure one configuration and model it; what `table` shows, as plain values. Raises Void when the losses
    differ.
    """
    config, batch = TRAINING[name]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        everybody = [
            stack.enter_context(_entrant(Path(folder) / who, options.blas, *work))
            for who, work in works(config, batch, threads).items()
        ]
        losses = check_same(everybody[:threads], SAME_STEPS, "loss", TOLERANCE)
        times = take_turns(everybody, options.rounds, options.seconds)["seconds"]
        libraries = [each.libraries for each in everybody]
    steps = {n: times[n] for n in map(str, range(1, threads + 1))}
    medians = {who: Spread.of(values).median for who, values in times.items()}
    model = fitted(config, batch, threads, medians, options.memory * 1e9)
    return {
        "config": name,
        "seconds": {n: vars(Spread.of(values)) for n, values in steps.items()},
        "speedup": {"1": 1.0} | {n: 1 / spread.median for n, spread in ratios(steps, "1").items()},
        "matmul_speedup": medians["matmul 1"] / medians[f"matmul {threads}"],
        "quantities": vars(model),
        "model": [predict(model.of_batch(rows), cores) for cores, rows in machines(batch, threads)],
        "fastest": {str(rows): fastest(model.of_batch(rows)) for rows in sorted({batch, max(CORES)})},
        "losses": losses,
        "blas": options.blas,
        "machine": machine.describe(libraries, machine.environment(options.blas, threads), threads),
    }


def works(config: GPTConfig, batch: int, threads: int) -> dict[str, tuple[str, Task]]:
    """What is measured, by name: function, and its task but for the folder. The steps come first."""

    def task(of: GPTConfig, rows: int, n: int) -> Task:
        return Task(Path(), of, rows, n)

    bare = replace(
        config,
        vocab_size=17,
        heads=config.heads // config.key_heads,
        kv_heads=1,
        dim=8,
        head_dim=config.head_size,
        mlp_dim=8,
    )
    return (
        {str(n): ("ours:train", task(config, batch, n)) for n in range(1, threads + 1)}
        | {
            f"skeleton {rows} {n}": ("ours:train_in_threads", task(bare, rows, n))
            for rows, n in ((1, 1), (2, 1), (2, 2))
        }
        | {f"matmul {n}": ("rates:our_matmul", task(bare, 1, n)) for n in {1, threads}}
        | {"update": ("ours:update", task(config, 1, 1)), "memory": ("rates:memory_reading", task(bare, 1, threads))}
    )


@contextmanager
def _entrant(folder: Path, blas: machine.Blas, function: str, task: Task) -> Iterator[Contestant]:
    folder.mkdir()
    replace(task, folder=folder).write()
    with contestants({folder.name: function}, folder, machine.environment(blas, task.threads)) as (entered, _):
        yield entered[0]


def fitted(config: GPTConfig, batch: int, threads: int, seconds: dict[str, float], memory: float) -> Model:
    """The model from what `works` took."""
    counts = parameters(config)
    held = min(
        max(0.0, 2 * seconds["skeleton 1 1"] - seconds["skeleton 2 1"]), seconds["1"] - seconds["update"]
    )  # of noisy times
    return Model(
        batch,
        seconds["1"],
        held,
        max(held, seconds["skeleton 2 2"] / 2),
        seconds["update"],
        counts.total,
        max(counts.embedding, counts.head),
        READ["cpu"] / seconds["memory"] / threads,
        memory,
        not processes_are_faster(counts.total, 2),
    )


def machines(batch: int, threads: int) -> list[tuple[int, int]]:
    """(cores, rows) to model: the cores there are, and more, also with a row for each where the batch has fewer."""
    cores = [*range(1, threads + 1), *(n for n in CORES if n > threads)]
    return [(n, rows) for n in cores for rows in sorted({batch, max(n, batch)})]


def table(result: dict[str, Any]) -> str:
    """A measured configuration, and the model of it, for people."""
    q, terms = result["quantities"], " ".join(f"{name:>8}" for name in result["model"][0]["terms"])
    ends = [
        f"batch {rows}: no faster beyond {best['cores']} cores, {best['speedup']:.1f} times one; "
        f"{best['stopped_by']} stops it. "
        f"Way out: {WAY_OUT[best['stopped_by']]}"
        for rows, best in result["fastest"].items()
    ]
    return "\n".join(
        [
            *result["machine"],
            f"memory     {q['core'] / 1e9:.0f} GB/s a core; {q['memory'] / 1e9:.0f} GB/s assumed for all cores of "
            "the model",
            f"ceiling    matrix products are {result['matmul_speedup']:.2f} times as fast on all cores as on one",
            "",
            f"{result['config']}, ms on one thread: step {1e3 * q['step']:.1f}, of it Python {1e3 * q['held']:.2f} "
            "(handed over "
            f"{1e3 * q['handed']:.2f}), update {1e3 * q['update']:.2f}",
            "",
            f"cores batch   measured      min      max  speedup efficiency    model  speedup {terms}  stopped by",
            *(_row(result, each) for each in result["model"]),
            "",
            *ends,
            "",
        ]
    )


def _row(result: dict[str, Any], modelled: dict[str, Any]) -> str:
    n, batch = modelled["cores"], modelled["batch"]
    measured = " " * 47
    if (spread := result["seconds"].get(str(n))) and batch == result["quantities"]["batch"]:
        median, least, most = (1e3 * spread[key] for key in ("median", "least", "most"))
        speedup = result["speedup"][str(n)]
        measured = f"{median:10.1f} {least:8.1f} {most:8.1f} {speedup:8.2f} {speedup / n:10.0%}"
    terms = " ".join(f"{1e3 * seconds:8.1f}" for seconds in modelled["terms"].values())
    model = f"{1e3 * modelled['seconds']:9.1f} {modelled['speedup']:8.2f} {terms}  {modelled['stopped_by']}"
    return f"{n:5} {batch:5} {measured:47} {model}".rstrip()


if __name__ == "__main__":
    machine.run(main, "benchmarks.scaling")
