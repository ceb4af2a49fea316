"""How long train.py takes for a preset as it is, and with other options: losses and seconds of several seeds.

    python -m benchmarks.presets --preset default --other="--optimizer adamw --steps 500 --lr 4e-3 --warmup 100"

Whole runs of train.py take turns. Seconds are those of the updates, as metrics.jsonl has them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks import machine
from benchmarks.comparison import Spread
from benchmarks.polluted import ROOT

PRESET = "the preset"


@dataclass(frozen=True)
class Options:
    """Compare a preset of train.py with itself and other options."""

    preset: str = "default"
    """The preset."""
    other: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Options that replace some of the preset's. Can be given several times."""
    both: str = ""
    """Options for all runs, such as "--data my.txt"."""
    seeds: int = 3
    """Number of runs of each kind; their seeds are 1, 2 ..."""
    threads: int | None = None
    """How many cores to use. Default: all that are available."""
    blas: machine.Blas = "native"
    """As in the other benchmarks."""


@dataclass(frozen=True)
class Result:
    loss: float  # the lowest validation loss
    steps: int
    seconds: float


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.presets")
    threads = machine.Settings(threads=options.threads).begin()
    kinds = {PRESET: "", **{other: other for other in options.other}}
    results: dict[str, list[Result]] = {kind: [] for kind in kinds}
    settings = machine.environment(options.blas, threads)
    for seed in range(1, options.seeds + 1):
        for kind, more in kinds.items():
            words = [*options.both.split(), *more.split(), "--seed", str(seed), "--threads", str(threads)]
            results[kind].append(train(options.preset, words, settings))
            print(f"seed {seed}, {kind}: {results[kind][-1]}", file=sys.stderr, flush=True)
    print("\n".join([*machine.describe([], settings, threads), "", table(results)]), flush=True)


def train(preset: str, words: Sequence[str], settings: dict[str, str]) -> Result:
    """A run of train.py, in a folder that is deleted."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "train.py", "--preset", preset, "--sample-every", "0", *words, "--out", str(out)]
        subprocess.run(command, cwd=ROOT, env=settings, check=True, capture_output=True)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return Result(
        min(line["val_loss"] for line in lines if line["val_loss"] is not None), len(lines), lines[-1]["elapsed"]
    )


def table(results: dict[str, list[Result]]) -> str:
    """Medians with the least and the most; and seconds as a share of those of the other options, seed by seed."""
    lines = ["| | steps | validation loss | seconds | seconds of the preset by these |", "|---|---|---|---|---|"]
    for kind, runs in results.items():
        shares = [ours.seconds / theirs.seconds for ours, theirs in zip(results[PRESET], runs)]
        cells = [kind, f"{runs[0].steps:,}", spread([run.loss for run in runs]), spread([run.seconds for run in runs])]
        lines.append(f"| {' | '.join([*cells, '' if kind == PRESET else spread(shares)])} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    found = Spread.of(values)
    return f"{found.median:.3f} ({found.least:.3f}-{found.most:.3f})"


if __name__ == "__main__":
    main()
