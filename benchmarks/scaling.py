"""A training step on 1, 2, ... threads, and a model of a step on more cores (scaling_model.py).

python -m benchmarks.scaling --help
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
from benchmarks.comparison import Spread, check_same, parse_names, ratios, start_competitors, take_turns
from benchmarks.competitor import Competitor
from benchmarks.peers.limits import READ
from benchmarks.scaling_model import CORES, REMEDIES, Model, fastest, predict
from benchmarks.task import TRAINING, Task
from benchmarks.train import TOLERANCE
from llm.model.config import GPTConfig
from llm.model.cost import parameters
from llm.parallel.selection import processes_are_faster

SAME_STEPS = 2


@dataclass(frozen=True)
class Options(machine.Settings):
    """Measure a training step on 1, 2, ... cores, in turns, and compute that on 8 and 64 cores by a model."""

    config: str = "a,b"
    """Which models, separated by commas: a, b, c, c1k, llama-a, llama-b (see benchmarks/task.py)."""
    memory: float = 200.0
    """GB/s of the memory of the larger machine, for all of its cores together (assumed: a server)."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.scaling")
    configs = parse_names(options.config, TRAINING, "--config")
    if options.memory <= 0:
        raise ValueError(f"--memory must be above 0, got {options.memory:g}")
    threads = options.begin()
    for config in configs:
        result = measure(config, threads, options)
        print(json.dumps(result) if options.json else table(result), flush=True)


def measure(name: str, threads: int, options: Options) -> dict[str, Any]:
    """Measure one configuration and compute the model; returns what `table` shows. Raises Mismatch if losses differ."""
    config, batch = TRAINING[name]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        competitors = [
            stack.enter_context(_competitor(Path(folder) / name, options.blas, *work))
            for name, work in works(config, batch, threads).items()
        ]
        losses = check_same(competitors[:threads], SAME_STEPS, "loss", TOLERANCE)
        times = take_turns(competitors, options.rounds, options.seconds)["seconds"]
        libraries = [each.libraries for each in competitors]
    steps = {n: times[n] for n in map(str, range(1, threads + 1))}
    medians = {name: Spread.of(values).median for name, values in times.items()}
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
    """What is measured, as name -> (function, task without its folder). The steps of the model come first."""

    def task(config: GPTConfig, rows: int, n: int) -> Task:
        return Task(Path(), config, rows, n)

    small = {"vocab_size": 17, "dim": 8, "mlp_dim": 8, "heads": config.heads // config.key_heads, "kv_heads": 1}
    skeleton = replace(config, head_dim=config.head_size, **small)
    rows_and_threads = (1, 1), (2, 1), (2, 2)
    steps = {str(n): ("ours:train", task(config, batch, n)) for n in range(1, threads + 1)}
    skeletons = {f"skeleton {b} {n}": ("ours:train_in_threads", task(skeleton, b, n)) for b, n in rows_and_threads}
    products = {f"matmul {n}": ("limits:our_matmul", task(skeleton, 1, n)) for n in {1, threads}}
    update, memory = ("ours:update", task(config, 1, 1)), ("limits:memory_reading", task(skeleton, 1, threads))
    return steps | skeletons | products | {"update": update, "memory": memory}


@contextmanager
def _competitor(folder: Path, blas: machine.Blas, function: str, task: Task) -> Iterator[Competitor]:
    folder.mkdir()
    replace(task, folder=folder).write()
    with start_competitors({folder.name: function}, folder, machine.environment(blas, task.threads)) as (
        competitors,
        _,
    ):
        yield competitors[0]


def fitted(config: GPTConfig, batch: int, threads: int, seconds: dict[str, float], memory: float) -> Model:
    """The model, from the seconds of `works`."""
    counts = parameters(config)
    no_rows = 2 * seconds["skeleton 1 1"] - seconds["skeleton 2 1"]
    python = min(max(0.0, no_rows), seconds["1"] - seconds["update"])  # bounded, because the times are noisy
    return Model(
        batch,
        step=seconds["1"],
        python=python,
        python_in_turns=max(python, seconds["skeleton 2 2"] / 2),
        update=seconds["update"],
        count=counts.total,
        largest=max(counts.embedding, counts.head),
        core=READ["cpu"] / seconds["memory"] / threads,
        memory=memory,
        threads=not processes_are_faster(counts.total, 2),
    )


def machines(batch: int, threads: int) -> list[tuple[int, int]]:
    """(cores, rows) for the model: the cores of this machine, and more, also with a row for each core."""
    cores = [*range(1, threads + 1), *(n for n in CORES if n > threads)]
    return [(n, rows) for n in cores for rows in sorted({batch, max(n, batch)})]


def table(result: dict[str, Any]) -> str:
    """The measurements and the model as text."""
    q, terms = result["quantities"], " ".join(f"{name:>8}" for name in result["model"][0]["terms"])
    ends = [
        f"batch {rows}: no faster beyond {best['cores']} cores, {best['speedup']:.1f} times one; the largest loss is "
        f"{best['stopped_by']}. Remedy: {REMEDIES[best['stopped_by']]}"
        for rows, best in result["fastest"].items()
    ]
    lines = [
        *result["machine"],
        f"memory     {q['core'] / 1e9:.0f} GB/s a core; model: {q['memory'] / 1e9:.0f} GB/s assumed for all cores",
        f"ceiling    matrix products are {result['matmul_speedup']:.2f} times as fast on all cores as on one",
        "",
        f"{result['config']}, ms on one thread: step {1e3 * q['step']:.1f}, of it Python {1e3 * q['python']:.2f} "
        f"(in turns with others {1e3 * q['python_in_turns']:.2f}), update {1e3 * q['update']:.2f}",
        "",
        f"cores batch   measured      min      max  speedup efficiency    model  speedup {terms}  largest loss",
        *(_row(result, each) for each in result["model"]),
        "",
        *ends,
    ]
    return "\n".join([*lines, ""])


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
