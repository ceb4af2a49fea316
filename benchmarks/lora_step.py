"""A training step of LoRA on a published model (float32, on the CPU), beside PEFT on PyTorch.

    python -m benchmarks.lora_step SmolLM2-135M-Instruct.Q4_1.gguf

The model is loaded by `llm.hub`, given an adapter, and both are written as folders of Hugging Face and PEFT, which both
competitors load. So they begin with the same numbers, and their losses must agree.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks import machine
from benchmarks.comparison import Spread, check_same, ratio_summary, start_competitors, take_turns
from benchmarks.task import Task, learnable_ids
from llm.hub import load, save, save_adapter
from llm.tuning import add_lora

FUNCTIONS = {"ours": "adapters:ours", "PEFT": "adapters:peft"}
SAME_STEPS, TOLERANCE = 3, 1e-3  # the losses of the first steps must agree to this


@dataclass(frozen=True)
class Options(machine.Settings):
    """Compare a training step of LoRA with PEFT on PyTorch, in turns."""

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PATH")]] = ""
    """Whatever `llm.hub.load` takes."""
    batch: int = 4
    tokens: int = 256
    """Of each text."""
    rank: int = 8
    targets: str = "all-linear"
    """Names of matrices, separated by commas, or all-linear."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.lora_step")
    result = compare(options.begin(), options)
    print(json.dumps(result) if options.json else table(result), flush=True)


def compare(threads: int, options: Options) -> dict[str, Any]:
    """What `table` shows. Raises Mismatch if the losses differ."""
    settings = machine.environment(options.blas, threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        description = prepare(folder, threads, options)
        with start_competitors(FUNCTIONS, folder, settings) as (competitors, skipped):
            losses = check_same(competitors, SAME_STEPS, "loss", TOLERANCE)
            times = take_turns(competitors, options.rounds, options.seconds)["seconds"]
            libraries, peaks = [each.libraries for each in competitors], {each.name: each.peak for each in competitors}
    return {
        "description": description,
        "machine": machine.describe(libraries, settings, threads, "cpu"),
        "seconds": {name: vars(Spread.of(values)) for name, values in times.items()},
        "peak_bytes": peaks,
        "losses": losses,
        "skipped": skipped,
        **ratio_summary(times),
    }


def prepare(folder: Path, threads: int, options: Options) -> str:
    """Write the model, the adapter and the batches into the folder; returns a line about them."""
    model, _ = load(options.model)
    save(model, None, folder / "model")
    add_lora(
        model, options.rank, 2 * options.rank, options.targets.split(",") if "," in options.targets else options.targets
    )
    save_adapter(model, folder / "adapter")
    config = replace(model.config, context=options.tokens)
    ids = learnable_ids((4, options.batch, options.tokens + 1), config.vocab_size)
    Task(folder, config, options.batch, threads).save({}, ids)
    trained = sum(p.size for _, p in model.named_trainable())
    text = (
        f"{model.num_parameters():,} parameters, {trained:,} of them trained (rank {options.rank}, {options.targets})"
    )
    return f"{text}; batch {options.batch} x {options.tokens} tokens"


def table(result: dict[str, Any]) -> str:
    """A result as text."""
    losses = [losses[-1] for losses in result["losses"].values()]
    lines = [*result["machine"], "", result["description"], "", "          ms a step      min      max   peak MB"]
    for name, seconds in result["seconds"].items():
        median, least, most = (1e3 * seconds[key] for key in ("median", "least", "most"))
        lines.append(f"{name:<8} {median:10.1f} {least:8.1f} {most:8.1f} {result['peak_bytes'][name] / 1e6:9,.0f}")
    for name, spread in result["ratio_spread"].items():
        share = result["peak_bytes"]["ours"] / result["peak_bytes"][name]
        lines.append(
            f"{spread['median']:.2f} times as fast as {name} [{spread['least']:.2f}, {spread['most']:.2f}], "
            f"of best {result['ratio_of_best'][name]:.2f}; {share:.2f} of its memory"
        )
    lines.append(
        f"losses after {SAME_STEPS} steps agree: {losses[0]:.6f}, at most {max(losses) - min(losses):.1e} apart"
    )
    return "\n".join([*lines, *(f"{name} did not take part: {why}" for name, why in result["skipped"].items()), ""])


if __name__ == "__main__":
    machine.run(main, "benchmarks.lora_step")
