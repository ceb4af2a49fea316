"""A training step (forward, backward, clipping, AdamW; float32) beside other libraries.

python -m benchmarks.train --help
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import machine
from benchmarks.comparison import Spread, check_same, parse_names, ratio_summary, start_competitors, take_turns
from benchmarks.peers.limits import SIDE
from benchmarks.task import TRAINING, Task
from llm.model.cost import parameters, training_flops

OURS = "ours:train"
PEERS = {
    "torch": "pytorch:train",
    "compile": "pytorch:train_compiled",
    "tape": "ours:train_unfused",
    "jax": "functional:train_jax",
    "autograd": "functional:train_autograd",
}
CEILINGS = {  # matrix products alone
    "cpu": {"NumPy matmul": "limits:our_matmul", "torch matmul": "limits:torch_matmul"},
    "cuda": {"CuPy matmul": "limits:our_matmul", "torch matmul": "limits:torch_matmul"},
}
SAME_STEPS, TOLERANCE = 5, 1e-4  # the losses of the first steps must agree to this
HEAD = (
    "            ms a step      min      max   tokens/s   of ceiling   peak MB   times ours      min      max  of best"
)


@dataclass(frozen=True)
class Options(machine.DeviceSettings):
    """Compare a training step with that of other libraries, in turns, on the same weights and data."""

    config: str = "b"
    """Which models, separated by commas: a, b, c, c1k, llama-a, llama-b (see benchmarks/task.py)."""
    vs: str = "torch,compile"
    """Compare with what, separated by commas: torch (eager), compile (torch.compile), tape (minigrad without fused
    functions), jax, autograd (HIPS). On a GPU: torch, compile.
    """


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.train")
    configs, peers = parse_names(options.config, TRAINING, "--config"), parse_names(options.vs, PEERS, "--vs")
    threads = options.begin()
    for config in configs:
        result = compare(config, peers, threads, options)
        print(json.dumps(result) if options.json else table(result), flush=True)


def compare(name: str, peers: list[str], threads: int, options: Options) -> dict[str, Any]:
    """Measure one configuration; returns what `table` shows. Raises Mismatch if the losses differ."""
    config, batch = TRAINING[name]
    settings = machine.environment(options.blas, threads)
    functions = {"ours": OURS} | {peer: PEERS[peer] for peer in peers}
    with tempfile.TemporaryDirectory() as folder:
        Task(Path(folder), config, batch, threads, options.device).write()
        with (
            start_competitors(functions, Path(folder), settings) as (competitors, skipped),
            start_competitors(CEILINGS[options.device], Path(folder), settings) as (ceilings, _),
        ):
            losses = check_same(competitors, SAME_STEPS, "loss", TOLERANCE)
            times = take_turns([*competitors, *ceilings], options.rounds, options.seconds)["seconds"]
            libraries = [each.libraries for each in (*competitors, *ceilings)]
            peaks = {each.name: each.peak for each in competitors}
    rates = {each.name: 2 * SIDE[options.device] ** 3 / Spread.of(times.pop(each.name)).median for each in ceilings}
    seconds = {library: Spread.of(values) for library, values in times.items()}
    tokens, flops = batch * config.context, training_flops(config) * batch * config.context
    return {
        "config": name,
        **ratio_summary(times),
        "seconds": {library: vars(spread) for library, spread in seconds.items()},
        "tokens_per_second": {library: tokens / spread.median for library, spread in seconds.items()},
        "peak_bytes": peaks,
        "peak_ratio": {library: peaks["ours"] / peak for library, peak in peaks.items() if library != "ours"},
        "utilisation": {library: flops / spread.median / max(rates.values()) for library, spread in seconds.items()},
        "ceiling_flops": rates,
        "losses": losses,
        "skipped": skipped,
        "model": f"{config.layers} layers, {config.heads} heads, C={config.dim}, T={config.context}, B={batch}, "
        f"V={config.vocab_size}, {parameters(config).total:,} parameters",
        "blas": options.blas,
        "machine": machine.describe(libraries, settings, threads, options.device),
    }


def table(result: dict[str, Any]) -> str:
    """A result as text."""
    losses = [losses[-1] for losses in result["losses"].values()]
    ceilings = [f"ceiling    {rate / 1e9:.0f} GFLOP/s, {name}" for name, rate in result["ceiling_flops"].items()]
    lines = [
        *result["machine"],
        *ceilings,
        "",
        f"{result['config']}: {result['model']}",
        "",
        HEAD,
        *(_row(result, library) for library in result["seconds"]),
        "",
        f"losses after {SAME_STEPS} steps agree: {losses[0]:.6f}, at most {max(losses) - min(losses):.1e} apart",
        *(f"{library} did not take part: {reason}" for library, reason in result["skipped"].items()),
    ]
    return "\n".join([*lines, ""])


def _row(result: dict[str, Any], library: str) -> str:
    median, least, most = (1e3 * result["seconds"][library][key] for key in ("median", "least", "most"))
    speed, utilisation = result["tokens_per_second"][library], result["utilisation"][library]
    row = f"{library:<10} {median:10.1f} {least:8.1f} {most:8.1f} {speed:10,.0f} {utilisation:12.0%}"
    row += f" {result['peak_bytes'][library] / 1e6:9,.0f}"
    if library in result["ratio"]:
        spread, of_best = result["ratio_spread"][library], result["ratio_of_best"][library]
        row += f" {spread['median']:12.2f} {spread['least']:8.2f} {spread['most']:8.2f} {of_best:8.2f}"
    return row


if __name__ == "__main__":
    machine.run(main, "benchmarks.train")
