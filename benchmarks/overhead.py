"""What the engine costs where arithmetic costs nothing, beside other libraries: python -m benchmarks.overhead --help.

The graphs are in benchmarks/peers/small.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import tyro

from benchmarks import machine
from benchmarks.contestant import ROOT
from benchmarks.peers.small import ARRAYS, NUMBERS
from benchmarks.turns import Rounds, Spread, check_same, chosen, contestants, ratios, ratios_of_best, take_turns

PEERS = ("torch", "autograd", "micrograd")
GRAPHS = [*NUMBERS, *ARRAYS, "deep", "mlp"]
MEASURES = [f"{graph} {way}" for graph in GRAPHS for way in ("forward", "backward")]
TIME_IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


@dataclass(frozen=True)
class Options(machine.Settings):
    """Compare small graphs: time of an op forward and backward, memory of a node, time of the import."""

    vs: str = ",".join(PEERS)
    """Against what, with commas between: torch (eager), autograd (HIPS), micrograd (one number instead of ten)."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.overhead")
    names = chosen(options.vs, PEERS, "--vs")
    result = compare(names, options.begin(), options)
    print(json.dumps(result) if options.json else table(result), flush=True)


def compare(names: list[str], threads: int, options: Options) -> dict[str, Any]:
    """Measure everything; what `table` shows, as plain values. Raises Void when the gradients differ."""
    settings = machine.environment(options.blas, threads)
    with contestants({name: f"small:{name}" for name in ["ours", *names]}, None, settings) as (everybody, skipped):
        memory = {each.name: result["bytes"] for each in everybody for result in each.turn(1) if "bytes" in result}
        check_same(everybody, 1, "gradient", 1e-2)  # a sum of some thousands
        with_arrays = [each for each in everybody if each.name in memory]
        check_same(with_arrays, 1, "arrays gradient", 1e-2)
        check_same(with_arrays, 1, "mlp gradient", 1e-2)
        times = take_turns(everybody, options.rounds, options.seconds, MEASURES)
        libraries = [each.libraries for each in everybody]
    imports = import_times(4 * options.rounds, settings)
    return summary(times) | {
        "bytes_per_node": memory,
        "import_seconds": {name: Spread.of(seconds).to_json() for name, seconds in imports.items()},
        "import_ratio": Spread.of(x / y for x, y in zip(imports["minigrad"], imports["numpy"])).median,
        "skipped": skipped,
        "blas": options.blas,
        "machine": machine.describe(libraries, settings, threads),
    }


def summary(times: dict[str, Rounds]) -> dict[str, Any]:
    """Medians of the seconds, and how many times as long as we the others took, forward and backward together."""
    both = {graph: together(times[f"{graph} forward"], times[f"{graph} backward"]) for graph in GRAPHS}
    return {
        "seconds": {
            measure: {who: Spread.of(values).median for who, values in rounds.items()}
            for measure, rounds in times.items()
        },
        "ratio": {
            graph: {who: spread.median for who, spread in ratios(rounds, "ours").items()}
            for graph, rounds in both.items()
        },
        "ratio_of_best": {graph: ratios_of_best(rounds, "ours") for graph, rounds in both.items()},
    }


def together(forward: Rounds, backward: Rounds) -> Rounds:
    """Forward and backward."""
    return {who: [x + y for x, y in zip(times, backward[who])] for who, times in forward.items()}


def import_times(rounds: int, settings: dict[str, str]) -> Rounds:
    """Seconds that `import` takes in a fresh process, in turns. The first of each, not counted, leaves the compiled
    files and has the system hold them in memory.
    """
    times: Rounds = {"numpy": [], "minigrad": []}
    with tempfile.TemporaryDirectory() as folder:
        settings = machine.compiling(settings, folder)
        for _ in range(rounds + 1):
            for name, seconds in times.items():
                command = [sys.executable, "-c", TIME_IMPORT.format(name)]
                seconds.append(
                    float(subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, check=True).stdout)
                )
    return {name: seconds[1:] for name, seconds in times.items()}


def table(result: dict[str, Any]) -> str:
    """Everything for people."""
    lines = [
        *result["machine"],
        "",
        "microseconds for an op (mlp: for all of it)",
        "",
        "graph   library      forward  backward      both   times ours  of best",
    ]
    for graph in GRAPHS:
        for who, forward in result["seconds"][f"{graph} forward"].items():
            backward, ratio = result["seconds"][f"{graph} backward"][who], result["ratio"][graph].get(who)
            lines.append(
                f"{graph:<7} {who:<10} {1e6 * forward:9.2f} {1e6 * backward:9.2f} {1e6 * (forward + backward):9.2f}"
                + (f" {ratio:12.2f} {result['ratio_of_best'][graph][who]:8.2f}" if ratio else "")
            )
    return "\n".join(
        [
            *lines,
            "",
            "bytes for a node of x + 1.0: "
            + ", ".join(f"{who} {size:.0f}" for who, size in result["bytes_per_node"].items()),
            "import: "
            + ", ".join(
                f"{who} {1e3 * seconds['median']:.1f} ms (least {1e3 * seconds['min']:.1f})"
                for who, seconds in result["import_seconds"].items()
            )
            + f"; minigrad takes {result['import_ratio']:.2f} times as long as numpy",
            *(f"{who} did not take part: {reason}" for who, reason in result["skipped"].items()),
            "",
        ]
    )


if __name__ == "__main__":
    machine.run(main, "benchmarks.overhead")
