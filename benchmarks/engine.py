"""The engine beside the bare model: texts together, its own work, and guesses of the next tokens.

    python -m benchmarks.engine SmolLM2-135M-Instruct.Q4_1.gguf

The bare model continues a batch of texts of the same length, with one call for a token of each and the most likely
tokens. The engine continues as many requests, with prompts of the same length and with prompts of different lengths,
whose mean is the same. Only steps that write a token of each text are timed. All take turns, step by step, in one
process. The guesses are those of `PromptLookup`, for a text that repeats itself: a list that the prompt shows twice.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks import machine
from benchmarks.comparison import Spread, progress
from benchmarks.competitor import libraries
from llm.hub import load
from llm.inference.engine.engine import Engine
from llm.inference.engine.requests import Request
from llm.inference.engine.speculation import PromptLookup
from llm.inference.sampling import Sampling
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from llm.parallel.runtime import keep_freed_memory, set_blas_threads
from minigrad import no_grad

PROMPT, WRITTEN = 64, 64  # tokens
GREEDY = Sampling(temperature=0)


@dataclass(frozen=True)
class Options(machine.Settings):
    """Compare the engine with the bare model."""

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PATH")]] = ""
    """Whatever `llm.hub.load` takes."""
    batch: int = 8
    """How many texts are written at a time."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.engine")
    threads = options.begin()
    keep_freed_memory()
    set_blas_threads(threads)
    model, tokenizer = load(options.model)
    seconds = measure(works(model, tokenizer, options.batch), options.rounds)
    print(*machine.describe([libraries()], machine.environment("pinned", threads), threads), sep="\n")
    print(*table(seconds, options.batch), sep="\n")


def works(model: GPT, tokenizer: Any, batch: int) -> dict[str, Callable[[], Iterator[int]]]:
    """Each begins with a text or several, and returns an iterator: a step of it writes as many tokens as it says."""
    rng = np.random.default_rng(0)
    prompts = rng.integers(0, model.config.vocab_size, (batch, PROMPT))
    lengths = np.linspace(PROMPT // 2, PROMPT + PROMPT // 2, batch).astype(int)
    different = [rng.integers(0, model.config.vocab_size, length) for length in lengths]
    lines = "".join(f"{number}. The number {number} is written here.\n" for number in range(1, 13))
    repeated = tokenizer.encode_ordinary(f"{lines}\nThe same list again:\n{lines}\nThe same list again:\n1. The")
    return {
        "bare 1": lambda: bare(model, prompts[:1]),
        "engine 1": lambda: engine(model, prompts[:1]),
        "bare": lambda: bare(model, prompts),
        "engine": lambda: engine(model, prompts),
        "engine, different": lambda: engine(model, different),
        "repeated": lambda: engine(model, [repeated]),
        "repeated, guessed": lambda: engine(model, [repeated], draft=PromptLookup()),
    }


def bare(model: GPT, prompts: np.ndarray) -> Iterator[int]:
    cache, ids = KVCache(model.config), prompts
    for _ in range(WRITTEN + 1):
        with no_grad():
            x = model.hidden(ids, cache=cache)  # (B, T, C)
            ids = model.logits(x[:, -1]).data.argmax(axis=-1)[:, None]  # (B, 1)
        yield len(ids)


def engine(model: GPT, prompts: Any, **options: Any) -> Iterator[int]:
    # With this chunk, the first step reads all prompts. So all texts begin together.
    writer = Engine(model, slots=len(prompts), chunk=sum(map(len, prompts)))
    generations = [writer.submit(Request(list(ids), WRITTEN + 1, GREEDY, **options)) for ids in prompts]
    written = 0
    while not any(each.finished for each in generations):
        writer.step()
        before, written = written, sum(len(each.tokens) for each in generations)
        yield written - before


def measure(functions: dict[str, Callable[[], Iterator[int]]], rounds: int) -> dict[str, list[float]]:
    """Seconds for a token, in each round. The steps of all take turns, so all meet the same noise of the machine."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        running = {name: function() for name, function in functions.items()}
        for steps in running.values():
            next(steps)  # reads the prompts
        times: dict[str, list[float]] = {name: [] for name in functions}
        tokens = dict.fromkeys(functions, 0)
        while running:
            for name, steps in list(running.items()):
                began = time.perf_counter()
                count = next(steps, None)
                if count is None:
                    del running[name]
                else:
                    times[name].append(time.perf_counter() - began)
                    tokens[name] += count
        for name in functions:  # the median of the steps, for the mean number of tokens of a step
            seconds[name].append(statistics.median(times[name]) * len(times[name]) / tokens[name])
    progress("")
    return seconds


def table(seconds: dict[str, list[float]], batch: int) -> list[str]:
    speed = {name: 1 / Spread.of(each).median for name, each in seconds.items()}
    compared = [
        (f"batch {batch} of the engine, tokens/s of batch 1", "engine 1", "engine"),
        ("the engine's own work: its time of the bare model's, batch 1", "engine 1", "bare 1"),
        (f"the engine's own work: its time of the bare model's, batch {batch}", "engine", "bare"),
        ("the same, texts of different lengths", "engine, different", "bare"),
        ("guesses, a text that repeats itself: times as fast", "repeated", "repeated, guessed"),
    ]
    lines = [f"{name:18} {each:8.1f} tokens/s" for name, each in speed.items()]
    for what, over, under in compared:
        ratio = Spread.of(x / y for x, y in zip(seconds[over], seconds[under], strict=True))
        lines.append(f"{what}: {ratio.median:.2f} [{ratio.least:.2f}, {ratio.most:.2f}]")
    return lines


if __name__ == "__main__":
    machine.run(main, "benchmarks.engine")
