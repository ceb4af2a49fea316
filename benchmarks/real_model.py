"""Writing with a published model, beside transformers (float32, on the CPU): one text, and eight at a time.

    python -m benchmarks.real_model SmolLM2-135M-Instruct.Q4_1.gguf

The model is loaded by `llm.hub` and written as a folder of Hugging Face, which both then load, as float32. Both read
the same prompt and write the same tokens, one step after the other, without the rest of a generation loop.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks import machine
from benchmarks.comparison import Spread, check_same, ratio_summary, start_competitors, take_turns
from benchmarks.peers.decoding import PROMPT, WRITTEN
from benchmarks.task import Task, learnable_ids
from llm.hub import load, save
from llm.model.config import GPTConfig

TOLERANCE = 1e-3  # of logits
FUNCTIONS = {"ours": "real_models:ours", "transformers": "real_models:transformers"}


@dataclass(frozen=True)
class Options(machine.Settings):
    """Compare writing with a published model with transformers, in turns."""

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PATH")]] = ""
    """Whatever `llm.hub.load` takes."""
    batches: tuple[int, ...] = (1, 8)
    """How many texts are written at a time."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.real_model")
    threads = options.begin()
    with tempfile.TemporaryDirectory() as folder:
        model, _ = load(options.model)
        save(model, None, Path(folder, "model"))
        config = replace(model.config, context=PROMPT + WRITTEN)
        del model
        for number, batch in enumerate(options.batches):
            print(*compare(Path(folder), config, batch, threads, options, header=number == 0), sep="\n", flush=True)


def compare(folder: Path, config: GPTConfig, batch: int, threads: int, options: Options, *, header: bool) -> list[str]:
    """The lines of a table. Raises Mismatch if the logits differ."""
    settings = machine.environment(options.blas, threads)
    task = Task(folder, config, batch, threads)
    task.save({}, learnable_ids((1, batch, config.context + 1), config.vocab_size))
    with start_competitors(FUNCTIONS, folder, settings) as (competitors, skipped):
        check_same(competitors, 2, "logit", TOLERANCE)
        times = take_turns(competitors, options.rounds, options.seconds)["seconds"]
        libraries = [each.libraries for each in competitors]
        peaks = {each.name: each.peak for each in competitors}
    lines = [*machine.describe(libraries, settings, threads, "cpu"), ""] if header else []
    return [*lines, row(batch, times, peaks), *(f"{name} did not take part: {why}" for name, why in skipped.items())]


def row(batch: int, times: Any, peaks: dict[str, int]) -> str:
    speed = {name: batch * WRITTEN / Spread.of(values).median for name, values in times.items()}
    text = f"batch {batch}: " + ", ".join(
        f"{name} {each:,.1f} tokens/s, peak memory {peaks[name] / 1e6:,.0f} MB" for name, each in speed.items()
    )
    if "transformers" in times:
        spread = ratio_summary(times)["ratio_spread"]["transformers"]
        text += f"; {spread['median']:.2f} times as fast [{spread['least']:.2f}, {spread['most']:.2f}]"
    return text


if __name__ == "__main__":
    machine.run(main, "benchmarks.real_model")
