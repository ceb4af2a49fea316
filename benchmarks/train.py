"""A training step (forward, backward, clip, AdamW; float32) beside other libraries: python -m benchmarks.train
--help.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import machine
from benchmarks.peers.rates import SIDE
from benchmarks.task import TRAINING, Device, Task
from benchmarks.turns import Spread, check_same, chosen, contestants, ratios, ratios_of_best, take_turns
from llm.model.cost import parameters, training_flops
from minigrad.backend import pick_device

OURS = "ours:train"
PEERS = {
    "torch": "pytorch:train",
    "compile": "pytorch:train_compiled",
    "tape": "ours:train_unfused",
    "jax": "functional:train_jax",
    "autograd": "functional:train_autograd",
}
CEILINGS = {
    "cpu": {"NumPy matmul": "rates:our_matmul", "torch matmul": "rates:torch_matmul"},
    "cuda": {"CuPy matmul": "rates:our_matmul", "torch matmul": "rates:torch_matmul"},
}
SAME_STEPS, TOLERANCE = 5, 1e-4


@dataclass(frozen=True)
class Options(machine.Settings):
    """Compare a training step with that of other libraries, in turns, on the same weights and data."""

    config: str = "b"
    """Which models, with commas between: a, b, c, c1k, llama-a, llama-b (see benchmarks/task.py)."""
    vs: str = "torch,compile"
    """Against what, with commas between: torch (eager), compile (torch.compile), tape (minigrad without fused
    functions), jax, autograd.
    """
    device: Device = "cpu"
    """cpu, or cuda for minigrad on CuPy beside torch and compile on the same GPU; memory is the GPU's then."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.train")
    configs, names = chosen(options.config, TRAINING, "--config"), chosen(options.vs, PEERS, "--vs")
    threads = options.begin()
    pick_device(options.device)  # or a sentence: it is not there
    for config in configs:
        result = compare(config, names, threads, options)
        print(json.dumps(result) if options.json else table(result), flush=True)


def compare(name: str, names: list[str], threads: int, options: Options) -> dict[str, Any]:
    """Measure one configuration; what `table` shows, as plain values. Raises Void when the losses differ."""
    config, batch = TRAINING[name]
    settings = machine.environment(options.blas, threads)
    with tempfile.TemporaryDirectory() as folder:
        task = Task(Path(folder), config, batch, threads, options.device).write()
        with (
            contestants({"ours": OURS} | {peer: PEERS[peer] for peer in names}, task.folder, settings) as (
                entrants,
                skipped,
            ),
            contestants(CEILINGS[options.device], task.folder, settings) as (ceilings, _),
        ):
            losses = check_same(entrants, SAME_STEPS, "loss", TOLERANCE)
            times = take_turns([*entrants, *ceilings], options.rounds, options.seconds)["seconds"]
            libraries = [each.libraries for each in (*entrants, *ceilings)]
            peaks = {each.name: each.peak for each in entrants}
    rates = {each.name: 2 * SIDE[options.device] ** 3 / Spread.of(times.pop(each.name)).median for each in ceilings}
    seconds = {who: Spread.of(values) for who, values in times.items()}
    tokens, flops = batch * config.context, training_flops(config) * batch * config.context
    return {
        "config": name,
        "ratio": {who: spread.median for who, spread in ratios(times, "ours").items()},
        "ratio_of_best": ratios_of_best(times, "ours"),
        "ratio_spread": {who: vars(spread) for who, spread in ratios(times, "ours").items()},
        "seconds": {who: vars(spread) for who, spread in seconds.items()},
        "tokens_per_second": {who: tokens / spread.median for who, spread in seconds.items()},
        "peak_bytes": peaks,
        "peak_ratio": {who: peaks["ours"] / peak for who, peak in peaks.items() if who != "ours"},
        "utilisation": {who: flops / spread.median / max(rates.values()) for who, spread in seconds.items()},
        "ceiling_flops": rates,
        "losses": losses,
        "skipped": skipped,
        "model": f"{config.layers} layers, {config.heads} heads, C={config.dim}, T={config.context}, B={batch}, V={config.vocab_size}, "
        f"{parameters(config).total:,} parameters",
        "blas": options.blas,
        "machine": machine.describe(libraries, settings, threads, options.device),
    }


def table(result: dict[str, Any]) -> str:
    """A measured configuration for people."""
    rows = [
        "            ms a step      min      max   tokens/s   of ceiling   peak MB   times ours      min      max  "
        "of best"
    ]
    for who, seconds in result["seconds"].items():
        ms = [1e3 * seconds[key] for key in ("median", "least", "most")]
        rows.append(
            f"{who:<10} {ms[0]:10.1f} {ms[1]:8.1f} {ms[2]:8.1f} {result['tokens_per_second'][who]:10,.0f} "
            f"{result['utilisation'][who]:12.0%} {result['peak_bytes'][who] / 1e6:9,.0f}" + _ratio_columns(result, who)
        )
    last = [losses[-1] for losses in result["losses"].values()]
    ceilings = [f"ceiling    {rate / 1e9:.0f} GFLOP/s, {who}" for who, rate in result["ceiling_flops"].items()]
    return "\n".join(
        [
            *result["machine"],
            *ceilings,
            "",
            f"{result['config']}: {result['model']}",
            "",
            *rows,
            "",
            f"losses after {SAME_STEPS} steps agree: {last[0]:.6f}, at most {max(last) - min(last):.1e} apart",
            *(f"{who} did not take part: {reason}" for who, reason in result["skipped"].items()),
            "",
        ]
    )


def _ratio_columns(result: dict[str, Any], who: str) -> str:
    if who not in result["ratio"]:
        return ""
    spread = result["ratio_spread"][who]
    return f" {spread['median']:12.2f} {spread['least']:8.2f} {spread['most']:8.2f} {result['ratio_of_best'][who]:8.2f}"


if __name__ == "__main__":
    machine.run(main, "benchmarks.train")
