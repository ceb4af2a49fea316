"""Scoring a published model, beside EleutherAI's lm-evaluation-harness on transformers (float32, on the CPU).

    python -m benchmarks.lm_eval SmolLM2-135M-Instruct.Q4_1.gguf hellaswag=hellaswag_val.jsonl lambada=lambada.jsonl

The model is loaded by `llm.hub` and written as a folder of Hugging Face, which both then load, as float32. Both get the
same contexts and continuations, and must find the same log-likelihoods.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks import machine
from benchmarks.comparison import Spread, check_equal, ratio_summary, start_competitors, take_turns
from benchmarks.task import Task
from llm.evaluation.tasks.items import read_task
from llm.evaluation.tasks.known import find_description
from llm.hub import load, save
from llm.model.config import GPTConfig

TOLERANCE = 2e-3  # of a log-likelihood: sums of float32 that were added up in another order
FUNCTIONS = {"ours": "likelihoods:ours", "lm-eval": "likelihoods:lm_eval"}
Pairs = list[tuple[str, str]]  # contexts and continuations


@dataclass(frozen=True)
class Options(machine.Settings):
    """Compare the scoring of questions with lm-eval on transformers, in turns."""

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PATH")]] = ""
    """Whatever `llm.hub.load` takes."""
    tasks: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="KIND=FILE")]] = ()
    """Questions: as for `python -m llm.evaluation --task`."""
    limit: int = 60
    """How many questions of each task."""
    batch: int = 1
    """How many texts lm-eval computes at a time; 1 is its own default. Ours chooses itself."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.lm_eval")
    if not options.tasks:
        raise ValueError("no task was given; give at least one KIND=FILE, such as hellaswag=hellaswag_val.jsonl")
    threads = options.begin()
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = load(options.model)
        save(model, tokenizer, Path(folder, "model"))
        config = model.config
        del model
        for number, given in enumerate(options.tasks):
            pairs = read_pairs(given, options.limit)
            lines = compare(given, pairs, Path(folder), config, threads, options, header=number == 0)
            print(*lines, sep="\n", flush=True)


def read_pairs(given: str, limit: int) -> Pairs:
    """The contexts and continuations of a task, given as KIND=FILE."""
    kind, _, file = given.partition("=")
    items = read_task(kind, find_description(kind), file, limit=limit).items
    return [pair for item in items for pair in (item.pairs or [(item.context, item.delimiter + item.target)])]


def compare(
    name: str, pairs: Pairs, folder: Path, config: GPTConfig, threads: int, options: Options, *, header: bool
) -> list[str]:
    """The lines of a table. Raises Mismatch if the log-likelihoods differ."""
    settings = machine.environment(options.blas, threads)
    Task(folder, config, options.batch, threads).save({}, np.zeros((0, 0, 0), int))  # it is the pairs that are read
    (folder / "pairs.json").write_text(json.dumps(pairs))
    with start_competitors(FUNCTIONS, folder, settings) as (competitors, skipped):
        first = {each.name: each.measure(1)[0] for each in competitors}
        check_equal({n: [each[str(i)] for i in range(len(pairs))] for n, each in first.items()}, "scores", TOLERANCE)
        times = take_turns(competitors, options.rounds, options.seconds)["seconds"]
        libraries = [each.libraries for each in competitors]
        peaks = {each.name: each.peak for each in competitors}
    lines = [*machine.describe(libraries, settings, threads, "cpu"), ""] if header else []
    skips = (f"{other} did not take part: {why}" for other, why in skipped.items())
    return [*lines, row(name.partition("=")[0], len(pairs), times, peaks), *skips]


def row(name: str, pairs: int, times: Any, peaks: dict[str, int]) -> str:
    text = f"{name}, {pairs} continuations: " + ", ".join(
        f"{library} {Spread.of(values).median:.2f} s, peak memory {peaks[library] / 1e6:,.0f} MB"
        for library, values in times.items()
    )
    if "lm-eval" in times:
        spread = ratio_summary(times)["ratio_spread"]["lm-eval"]
        text += f"; {spread['median']:.2f} times as fast [{spread['least']:.2f}, {spread['most']:.2f}]"
    return text


if __name__ == "__main__":
    machine.run(main, "benchmarks.lm_eval")
