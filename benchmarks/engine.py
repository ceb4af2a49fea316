"""The engine beside the bare model: texts together, its own work, and guesses of the next tokens.

    python -m benchmarks.engine SmolLM2-135M-Instruct.Q4_1.gguf

The bare model continues a batch of texts of the same length, with one call for a token of each and the most likely
tokens. The engine continues as many requests. All take turns in one process, and write the same number of tokens. The
guesses are those of `PromptLookup`, for a text that repeats itself: a list that the prompt shows twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
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


def works(model: GPT, tokenizer: Any, batch: int) -> dict[str, Callable[[], float]]:
    """Each writes a text or several, and returns the seconds of a token of each text."""
    rng = np.random.default_rng(0)
    prompts = rng.integers(0, model.config.vocab_size, (batch, PROMPT))
    lines = "".join(f"{number}. The number {number} is written here.\n" for number in range(1, 13))
    repeated = tokenizer.encode_ordinary(f"{lines}\nThe same list again:\n{lines}\nThe same list again:\n1. The")
    return {
        "bare 1": lambda: bare(model, prompts[:1]),
        "engine 1": lambda: engine(model, prompts[:1]),
        "bare": lambda: bare(model, prompts),
        "engine": lambda: engine(model, prompts),
        "repeated": lambda: engine(model, [repeated]),
        "repeated, guessed": lambda: engine(model, [repeated], draft=PromptLookup()),
    }


def bare(model: GPT, prompts: np.ndarray) -> float:
    cache, ids = KVCache(model.config), prompts
    with no_grad():
        for number in range(WRITTEN + 1):
            if number == 1:  # the prompt does not count
                began = time.perf_counter()
            x = model.hidden(ids, cache=cache)  # (B, T, C)
            ids = model.logits(x[:, -1]).data.argmax(axis=-1)[:, None]  # (B, 1)
    return (time.perf_counter() - began) / WRITTEN


def engine(model: GPT, prompts: Any, **options: Any) -> float:
    writer = Engine(model, slots=len(prompts))
    generations = [writer.submit(Request(list(ids), WRITTEN + 1, GREEDY, **options)) for ids in prompts]
    while not all(each.tokens for each in generations):  # the prompts do not count
        writer.step()
    before, began = sum(len(each.tokens) for each in generations), time.perf_counter()
    while writer.running:
        writer.step()
    written = sum(len(each.tokens) for each in generations) - before
    return (time.perf_counter() - began) / written * len(prompts)


def measure(functions: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):  # the first round warms up
        for name, function in functions.items():
            progress(f"round {number} of {rounds}: {name}")
            value = function()
            if number:
                seconds[name].append(value)
    progress("")
    return seconds


def table(seconds: dict[str, list[float]], batch: int) -> list[str]:
    speed = {
        name: (batch if name in ("bare", "engine") else 1) / Spread.of(each).median for name, each in seconds.items()
    }
    compared = [
        (f"batch {batch} of the engine, tokens/s of batch 1", "engine 1", "engine", batch),
        ("the engine's own work: its time of the bare model's, batch 1", "engine 1", "bare 1", 1),
        (f"the engine's own work: its time of the bare model's, batch {batch}", "engine", "bare", 1),
        ("guesses, a text that repeats itself: times as fast", "repeated", "repeated, guessed", 1),
    ]
    lines = [f"{name:18} {each:8.1f} tokens/s" for name, each in speed.items()]
    for what, over, under, times in compared:
        ratio = Spread.of(times * x / y for x, y in zip(seconds[over], seconds[under], strict=True))
        lines.append(f"{what}: {ratio.median:.2f} [{ratio.least:.2f}, {ratio.most:.2f}]")
    return lines


if __name__ == "__main__":
    machine.run(main, "benchmarks.engine")
