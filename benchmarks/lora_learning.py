"""What LoRA learns from conversations, beside PEFT on PyTorch: the validation loss of answers before and after.

    python -m benchmarks.lora_learning SmolLM2-135M-Instruct.Q4_1.gguf chats.jsonl

Both begin with the same weights (lora_step.py), and learn from the same batches with the same learning rates: those of
`train.py --objective chat`. One after the other trains as a whole, so their times can only be compared roughly.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks import lora_step, machine
from benchmarks.comparison import start_competitors
from llm.runs.run import Run
from llm.runs.tuning_options import TuningOptions
from llm.training.base import base_options
from llm.training.step import learning_rate
from llm.tuning.chat.task import ChatTask

FUNCTIONS = {"ours": "adapters:ours_learning", "PEFT": "adapters:peft_learning"}


@dataclass(frozen=True)
class Options(lora_step.Options):
    """Compare what LoRA learns from conversations with what it learns with PEFT on PyTorch."""

    data: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="FILE")]] = ""
    """Examples, as for train.py --objective chat."""
    batch: int = 8
    tokens: int = 256
    """The context: longer examples are cut."""
    lr: float = 2e-4
    epochs: float = 1.0
    only: str = ""
    """ours or PEFT: only this one trains. Default: both."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.lora_learning")
    result = compare(options.begin(), options)
    print(json.dumps(result) if options.json else table(result), flush=True)


def compare(threads: int, options: Options) -> dict[str, Any]:
    """What `table` shows."""
    settings = machine.environment(options.blas, threads)
    functions = {name: f for name, f in FUNCTIONS.items() if options.only in ("", name)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        description = [lora_step.prepare(folder, threads, options), write_batches(folder, options)]
        with start_competitors(functions, folder, settings) as (competitors, skipped):
            results = {each.name: each.measure(1)[0] for each in competitors}
            libraries, peaks = [each.libraries for each in competitors], {each.name: each.peak for each in competitors}
    return {
        "description": description,
        "machine": machine.describe(libraries, settings, threads, "cpu"),
        "results": results,
        "peak_bytes": peaks,
        "skipped": skipped,
    }


def write_batches(folder: Path, options: Options) -> str:
    """Put the batches of train.py --objective chat into the folder, and the learning rates; returns a line on them."""
    base = base_options(options.model)
    training = replace(base.training, data=options.data, batch_size=options.batch, lr=options.lr, eval_batches=10**6)
    model = replace(base.model, context=options.tokens)
    run = replace(base, training=training, model=model, tuning=TuningOptions(lora_rank=options.rank))
    task = ChatTask(run, Run(folder / "run"))
    parts = task.parts(None)  # type: ignore[arg-type]    the batches of a chat do not depend on the model
    steps = max(1, round(parts.batches.steps_per_epoch * options.epochs))  # type: ignore[attr-defined]
    rate = learning_rate(replace(training, steps=steps, warmup=steps // 10))
    arrays = {f"train.{k}": np.stack(parts.batches.batch(k)[:2]) for k in range(steps)}
    arrays |= {f"val.{k}": np.stack(batch[:2]) for k, batch in enumerate(parts.validation.batches)}  # type: ignore[attr-defined]
    np.savez(folder / "chats.npz", rates=[rate(k) for k in range(steps)], **arrays)
    return f"{parts.description}\n{steps:,} steps of {options.batch}, learning rate {options.lr:g}, then linear to 0"


def table(result: dict[str, Any]) -> str:
    """A result as text."""
    lines = [*result["machine"], "", *result["description"], "", "           before     after   seconds   peak MB"]
    for name, found in result["results"].items():
        peak = result["peak_bytes"][name] / 1e6
        lines.append(f"{name:<8} {found['before']:8.4f}  {found['after']:8.4f}  {found['training']:8.1f}  {peak:8,.0f}")
    return "\n".join([*lines, *(f"{name} did not take part: {why}" for name, why in result["skipped"].items()), ""])


if __name__ == "__main__":
    machine.run(main, "benchmarks.lora_learning")
