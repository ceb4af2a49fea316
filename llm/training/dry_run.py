"""What a training run would need, without creating the model: `train.py --dry-run`.

A long text is not read. From a short one (SHORT_TEXT), the tokenizer is learned, because it may have fewer tokens than
--vocab-size asks for. The run will find it in the cache.

How the time is predicted: the rate of a matrix product, in operations per second, is measured on one core, and
multiplied by the number of cores. A training step reaches about half of this rate (UTILISATION). So its time is the
number of its operations (llm/model/cost/), divided by half the rate. Other programs do not change the measurement,
because it counts only the time in which this program has the core.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from llm.data import Corpus, learn_tokenizer, open_corpus
from llm.data.builtin import is_missing_download
from llm.data.learned import LEARNED, learned_before
from llm.model import cost
from llm.parallel.blas import blas_threads, idle_share, limited_blas_threads
from llm.parallel.runtime import available_cores
from llm.runs.options import Options, TrainOptions
from llm.runs.run import Run
from llm.training.base import base_tokenizer
from llm.training.memory import describe_memory, memory_arguments
from llm.training.setup import worker_count
from llm.training.task import TaskKind
from llm.training.text import TextTask, check_vocab_size
from llm.training.trained import texts_of_a_row
from minigrad.backend import pick_device, to_device
from tokenizer import load as load_tokenizer

UTILISATION = 0.5  # the rate of training steps, as a fraction of that of a large matrix product: benchmarks/RESULTS.md
SHORT_TEXT = {"bpe": 1 << 21, "char": 1 << 24}  # bytes. Learning from this takes less than a second
READABLE_TEXT = 1 << 26  # bytes. This is read in half a second, to look for its tokenizer in the cache
BUSY = 0.75  # if less than this share of the cores is idle, a line says that the run will take longer


def describe_dry_run(options: Options, run: Run, kind: TaskKind = TextTask) -> str:
    """Lines on text and vocabulary, a table of sizes and memory, and the predicted time of a step and of all steps.

    Raises ValueError or OSError when the run could not begin: the text does not exist, a tokenizer cannot be read ...
    """
    training = options.training
    device = pick_device(training.device)
    if kind is TextTask:
        corpus = find_corpus(training.data)
        vocab_size, source = find_vocabulary(options, run, corpus)
        options = replace(options, model=replace(options.model, vocab_size=vocab_size))
        about_data = [f"text       {describe_text(training.data, corpus)}"]
    else:
        task = kind(options, run)  # reads the examples, which takes little time
        options, source = task.options, f"of the model in {training.from_}" if training.from_ else "of its tokenizer"
        about_data = [f"data       {training.data}, whose {task.rows} can be used"]
    workers = worker_count(training, device)
    lines = [
        *about_data,
        f"vocabulary {options.model.vocab_size:,} tokens, {source}",
        cost.table(options.model, **memory_arguments(options, workers)),
        *(describe_memory(options, workers) if device == "cpu" else []),
        *describe_time(options, device, workers, steps_done(run)),
        *describe_ranks(options),
    ]
    return "\n".join(lines)


def describe_ranks(options: Options) -> list[str]:
    """What a split over ranks takes; no lines for one process, which needs nothing of what is imported here."""
    if options.parallel.ranks == 1:
        return []
    from llm.parallel.plan.dry_run import describe_split

    return describe_split(options, matmul_rate("cpu"), UTILISATION)


def find_corpus(data: str) -> Corpus | None:
    """The text, not read yet; None if it is a stream, or must be downloaded. Raises DataError if there is none."""
    is_stream = data == "-" or os.path.exists(data) and not (os.path.isfile(data) or os.path.isdir(data))
    return None if is_stream or is_missing_download(data) else open_corpus(data)


def describe_text(data: str, corpus: Corpus | None) -> str:
    if corpus is None or not corpus.was_read:
        return f"{data}; it was not read"
    return f"{data}, {corpus.survey.characters:,} characters"


def find_vocabulary(options: Options, run: Run, corpus: Corpus | None) -> tuple[int, str]:
    """The size of the vocabulary, and where it comes from."""
    kind, size = options.training.tokenizer, options.model.vocab_size
    if options.training.from_ is not None:
        if not run.exists:
            base_tokenizer(options.training, size)
        return size, f"of the model in {options.training.from_}"
    if run.exists:
        return run.tokenizer().vocab_size, f"of the tokenizer of {run}"
    if kind not in LEARNED:
        return load_tokenizer(kind).vocab_size, f"of {kind}"
    check_vocab_size(kind, size)
    if corpus is not None and corpus.bytes <= SHORT_TEXT[kind]:
        return learn_tokenizer(corpus, kind, size).vocab_size, "learned from the text"
    if corpus is not None and corpus.bytes <= READABLE_TEXT:
        found = learned_before(corpus, kind, size)
        if found is not None:
            return found.vocab_size, "learned from the text by an earlier run"
    if kind == "bpe":
        return size, "as --vocab-size says; a text with few different words may give fewer"
    return size, "as --vocab-size says; the run has one token for each different character of the text"


def steps_done(run: Run) -> int:
    """The step of the newest checkpoint of a run that is resumed; 0 for a new run."""
    checkpoint = run.checkpoints.load(with_optimizer=False) if run.exists else None
    return 0 if checkpoint is None else checkpoint.step


class Prediction(NamedTuple):
    """What a step takes on this machine."""

    tokens: int
    flops: float
    cores: int
    rate: float  # floating-point operations per second of a matrix product on these cores
    seconds: float


def predict(options: Options, device: str, workers: int) -> Prediction:
    training, model = options.training, options.model
    tokens = training.batch_size * texts_of_a_row(training.objective) * model.context
    how = memory_arguments(options, workers)
    flops = tokens * cost.training_flops(model, **{name: how[name] for name in ("recompute", "trained", "pairs")})
    # Several workers have a core each. A single one leaves its cores to matrix products.
    cores = workers if workers > 1 else blas_threads(training.threads, cost.parameters(model, pairs=how["pairs"]).total)
    cores = min(cores, available_cores()) if device == "cpu" else 1
    rate = cores * matmul_rate(device)
    return Prediction(tokens, flops, cores, rate, seconds=flops / (rate * UTILISATION))


def describe_time(options: Options, device: str, workers: int, done: int) -> list[str]:
    training = options.training
    tokens, flops, cores, rate, seconds = predict(options, device, workers)
    steps = max(0, training.steps - done)
    where = ("1 core" if cores == 1 else f"{cores} cores") if device == "cpu" else device
    speed = f"{UTILISATION:.0%} of the {rate / 1e9:,.0f} GFLOP/s of matrix products on {where}"
    lines = [
        f"step       {tokens:,} tokens, {flops:.3g} floating-point operations",
        f"time       about {duration(seconds)} a step, {duration(seconds * steps)} for {remaining(training, steps)}, "
        f"at {speed}",
    ]
    if device == "cpu" and (idle := idle_share()) < BUSY:
        lines.append(f"           longer, as long as other programs use the cores: {idle:.0%} are idle now")
    return lines


def remaining(training: TrainOptions, steps: int) -> str:
    return f"{steps:,} steps" if steps == training.steps else f"the last {steps:,} of {training.steps:,} steps"


def matmul_rate(device: str = "cpu", size: int = 1024, rounds: int = 5) -> float:
    """Floating-point operations per second of a float32 matrix product on one core, or on a GPU; the best round."""
    # `thread_time` does not count the time in which another program has the core.
    clock = time.thread_time if device == "cpu" else time.perf_counter
    a = to_device(np.ones((size, size), np.float32), device)
    best = float("inf")
    with limited_blas_threads(1):
        for _ in range(rounds):
            began = clock()
            float((a @ a)[0, 0])  # reading a number waits for a GPU
            best = min(best, clock() - began)
    return 2 * size**3 / max(best, 1e-9)


def duration(seconds: float) -> str:
    """A time in the unit that a person would choose, with two digits: "0.15 seconds", "42 minutes", "3.1 years"."""
    units = (("years", 365.25 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    # Two of a smaller unit are easier to read than one and a half of a larger one.
    name, unit = next((unit for unit in units if seconds >= 2 * unit[1]), units[-1])
    value = seconds / unit
    return f"{value:,.0f} {name}" if value >= 9.5 else f"{value:.2g} {name}"
