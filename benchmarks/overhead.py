"""What the engine itself costs, where arithmetic costs next to nothing, beside other libraries.

    python -m benchmarks.overhead --help

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
from benchmarks.comparison import Rounds, Spread, check_same, parse_names, ratio_summary, start_competitors, take_turns
from benchmarks.competitor import ROOT
from benchmarks.peers.small import ARRAYS, NUMBERS

PEERS = ("torch", "autograd", "micrograd")
GRAPHS = [*NUMBERS, *ARRAYS, "deep", "mlp"]
MEASURES = [f"{graph} {direction}" for graph in GRAPHS for direction in ("forward", "backward")]
TIME_IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


@dataclass(frozen=True)
class Options(machine.Settings):
    """Compare small graphs: the time of an op forward and backward, the memory of a node, the time of the import."""

    vs: str = ",".join(PEERS)
    """Compare with what, separated by commas: torch (eager), autograd (HIPS), micrograd (one number, not ten)."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.overhead")
    names = parse_names(options.vs, PEERS, "--vs")
    result = compare(names, options.begin(), options)
    print(json.dumps(result) if options.json else table(result), flush=True)


def compare(names: list[str], threads: int, options: Options) -> dict[str, Any]:
    """Measure everything; returns what `table` shows. Raises Mismatch if the gradients differ."""
    settings = machine.environment(options.blas, threads)
    functions = {name: f"small:{name}" for name in ["ours", *names]}
    with start_competitors(functions, None, settings) as (competitors, skipped):
        memory = {each.name: result["bytes"] for each in competitors for result in each.measure(1) if "bytes" in result}
        check_same(competitors, 1, "gradient", 1e-2)  # a sum of some thousand terms
        with_arrays = [each for each in competitors if each.name in memory]
        check_same(with_arrays, 1, "arrays gradient", 1e-2)
        check_same(with_arrays, 1, "mlp gradient", 1e-2)
        times = take_turns(competitors, options.rounds, options.seconds, MEASURES)
        libraries = [each.libraries for each in competitors]
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
    """Medians of the seconds, and the times of the others divided by ours, forward and backward together."""
    both = {graph: together(times[f"{graph} forward"], times[f"{graph} backward"]) for graph in GRAPHS}
    ratio = {graph: ratio_summary(rounds) for graph, rounds in both.items()}
    seconds = {measure: {name: Spread.of(x).median for name, x in rounds.items()} for measure, rounds in times.items()}
    return {
        "seconds": seconds,
        "ratio": {graph: ratio[graph]["ratio"] for graph in GRAPHS},
        "ratio_of_best": {graph: ratio[graph]["ratio_of_best"] for graph in GRAPHS},
    }


def together(forward: Rounds, backward: Rounds) -> Rounds:
    """The sum of both times."""
    return {library: [x + y for x, y in zip(times, backward[library])] for library, times in forward.items()}


def import_times(rounds: int, settings: dict[str, str]) -> Rounds:
    """Seconds that `import` takes in a new process, in turns.

    The first of each does not count: it writes the compiled files and brings them into the cache of the system.
    """
    times: Rounds = {"numpy": [], "minigrad": []}
    with tempfile.TemporaryDirectory() as folder:
        settings = machine.compiling(settings, folder)
        for _ in range(rounds + 1):
            for name, seconds in times.items():
                command = [sys.executable, "-c", TIME_IMPORT.format(name)]
                result = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, check=True)
                seconds.append(float(result.stdout))
    return {name: seconds[1:] for name, seconds in times.items()}


def table(result: dict[str, Any]) -> str:
    """The results as text."""
    bytes_per_node = ", ".join(f"{library} {size:.0f}" for library, size in result["bytes_per_node"].items())
    imports = ", ".join(
        f"{library} {1e3 * seconds['median']:.1f} ms (least {1e3 * seconds['min']:.1f})"
        for library, seconds in result["import_seconds"].items()
    )
    lines = [
        *result["machine"],
        "",
        "microseconds for an op (mlp: for all of it)",
        "",
        "graph   library      forward  backward      both   times ours  of best",
        *(_row(result, graph, library) for graph in GRAPHS for library in result["seconds"][f"{graph} forward"]),
        "",
        f"bytes for a node of x + 1.0: {bytes_per_node}",
        f"import: {imports}; minigrad takes {result['import_ratio']:.2f} times as long as numpy",
        *(f"{library} did not take part: {reason}" for library, reason in result["skipped"].items()),
    ]
    return "\n".join([*lines, ""])


def _row(result: dict[str, Any], graph: str, library: str) -> str:
    forward, backward = (
        1e6 * result["seconds"][f"{graph} {direction}"][library] for direction in ("forward", "backward")
    )
    row = f"{graph:<7} {library:<10} {forward:9.2f} {backward:9.2f} {forward + backward:9.2f}"
    if ratio := result["ratio"][graph].get(library):
        row += f" {ratio:12.2f} {result['ratio_of_best'][graph][library]:8.2f}"
    return row


if __name__ == "__main__":
    machine.run(main, "benchmarks.overhead")
