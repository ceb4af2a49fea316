"""Steps of 1, 2, 4 and 8 ranks, split in each way: their time, memory, messages and bubble beside the plan's.

strong: a batch of --batch-size rows, however many ranks; weak: so many rows for each rank.

python -m benchmarks.ranks --help
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import machine
from benchmarks.comparison import Spread
from benchmarks.ranks_job import CONFIG, Job
from llm.model import cost
from llm.parallel.pipeline.timeline import expected_bubble
from llm.parallel.plan.memory import FULL, rank_memory
from llm.parallel.plan.timing import Machine, seconds_on_shared_cores, step_time
from llm.parallel.plan.traffic import rank_traffic

LIMIT = 120  # seconds of a job
JOBS = [Job(1, 1, 1)]
JOBS += [job for n in (2, 4, 8) for job in (Job(n, 1, 1), Job(1, n, 1), Job(1, 1, n))]
JOBS += [Job(2, 1, 1, 1), Job(2, 1, 1, 3), Job(2, 2, 2, 1)]


@dataclass(frozen=True)
class Options(machine.Settings):
    """Measure training steps of several ranks, each with one thread, in turns, and compare them with the plan."""

    rounds: int = 3
    """How many turns each split takes."""
    batch_size: int = 8
    """Rows of a batch, a multiple of 8; with weak scaling, of each rank."""
    steps: int = 3
    """Steps of a turn; their median is what the turn has measured."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.ranks")
    if options.batch_size < 1 or options.batch_size % 8:
        raise ValueError(f"--batch-size must be a multiple of 8, got {options.batch_size}")
    cores, settings = options.begin(), machine.environment(options.blas, 1)
    rows, found = options.batch_size, measure(options, settings)
    speed = rate(found[JOBS[0]], rows)
    link = statistics.median(turn["message"] for job in JOBS[1:4] for turn in found[job])
    lines = [
        _row(job, n, found[job], speed, link, cores) for n_of in SCALING for job in JOBS for n in [n_of(job, rows)]
    ]
    about = machine.describe([found[JOBS[0]][0]["libraries"]], settings, cores)
    if options.json:
        print(json.dumps({"machine": about, "rows": lines, "flops": speed, "link": link}))
        return
    print("\n".join(about))
    print(f"one rank   {speed / 1e9:.1f} GFLOP/s of a step; messages of 4 MB {link / 1e9:.2f} GB/s\n")
    print(HEAD, *map(text, lines), sep="\n")


SCALING: tuple[Callable[[Job, int], int], ...] = (lambda job, rows: rows, lambda job, rows: rows * job.ranks)


def measure(options: Options, settings: dict[str, str]) -> dict[Job, list[dict[str, Any]]]:
    """The first turn of each job measures memory, which takes time; the others, time."""
    found: dict[Job, list[dict[str, Any]]] = {job: [] for job in JOBS}
    for turn in range(options.rounds + 1):
        for job in JOBS:
            rows = sorted({of(job, options.batch_size) for of in SCALING})
            task = {"job": job, "rows": rows, "steps": 1 if turn == 0 else options.steps, "memory": turn == 0}
            found[job].append(start(job, json.dumps(task), settings))
    return found


def start(job: Job, task: str, settings: dict[str, str]) -> dict[str, Any]:
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if mpiexec is None:
        raise RuntimeError("mpiexec is missing; try: pip install mpi4py mpich")
    program = [mpiexec, "-n", str(job.ranks), sys.executable, "-m", "benchmarks.ranks_job", task]
    result = subprocess.run(program, env=settings, capture_output=True, text=True, timeout=LIMIT)
    if result.returncode:
        raise RuntimeError(f"{job.name} has failed: {result.stderr.strip()}")
    return json.loads(result.stdout)


def rate(turns: list[dict[str, Any]], rows: int) -> float:
    """Operations per second of a step of one rank."""
    flops = cost.training_flops(CONFIG) * rows * CONFIG.context
    return flops / Spread.of(statistics.median(turn[str(rows)]["seconds"]) for turn in turns[1:]).median


def _row(job: Job, rows: int, turns: list[dict[str, Any]], speed: float, link: float, cores: int) -> dict[str, Any]:
    split, T = job.split(rows), CONFIG.context
    first, *others = (turn[str(rows)] for turn in turns)
    seconds = Spread.of(statistics.median(turn["seconds"]) for turn in others)
    places = [(p, d, t) for p in range(job.pipeline) for d in range(job.data) for t in range(job.tensor)]
    stages = range(job.pipeline)
    planned = Machine(flops=speed, efficiency=1, memory_bandwidth=math.inf, link=link, precision=FULL)
    predicted = seconds_on_shared_cores(step_time(CONFIG, split, rows, T, planned), job.ranks, cores)
    return {
        "split": job.name, "ranks": job.ranks, "rows": rows, "seconds": vars(seconds), "predicted": predicted,
        "tokens": rows * T / seconds.median,
        "sent": first["sent"], "formula": [rank_traffic(CONFIG, split, rows, T, 4, place).total for place in places],
        "memory": max(first["peaks"]),
        "plan": max(rank_memory(CONFIG, split, rows, T, FULL, stage).total for stage in stages),
        "bubble": Spread.of(turn["bubble"] for turn in others).median,
        "expected": expected_bubble(job.pipeline, split.micro_batches(rows)),
    }  # fmt: skip


HEAD = (
    "split                       ranks rows   ms a step    min    max  plan  error  tokens/s  sent, bytes  formula"
    "  MB of a rank   plan  error  bubble  formula"
)


def text(row: dict[str, Any]) -> str:
    ms, mb = {name: 1e3 * value for name, value in row["seconds"].items()}, (row["memory"] / 1e6, row["plan"] / 1e6)
    waits = f"{row['bubble']:7.1%} {row['expected']:8.1%}" if row["expected"] else ""
    return (
        f"{row['split']:<28}{row['ranks']:5} {row['rows']:4} {ms['median']:11.1f} {ms['least']:6.1f} {ms['most']:6.1f}"
        f" {1e3 * row['predicted']:5.0f} {row['predicted'] * 1e3 / ms['median'] - 1:+6.0%} {row['tokens']:9,.0f} "
        f"{max(row['sent']):12,} {'equal' if list(row['sent']) == row['formula'] else max(row['formula'])!s:>8} "
        f"{mb[0]:13.1f} {mb[1]:6.1f} {mb[1] / mb[0] - 1:+6.1%} {waits}"
    ).rstrip()


if __name__ == "__main__":
    machine.run(main, "benchmarks.ranks")
