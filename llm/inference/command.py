"""The command line of `generate.py`: options, where the prompt comes from, and the text on the terminal.

Only the text goes to standard output. Messages go to standard error.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import tyro

from llm.data.text import decode_prompt
from llm.inference.load import load_model
from llm.inference.sampling import Sampling
from llm.inference.text import continue_prompt, decode_until_stop
from llm.runs.run import Run, newest_run
from minigrad.backend import pick_device

INTERRUPTED = 130  # exit status of a program that Ctrl-C ended: 128 + SIGINT


@dataclass(frozen=True)
class GenerateOptions:
    """Write text with a trained model: python generate.py --prompt "The class" """

    run: str | None = None
    """Folder of the run. Default: the newest one in runs/."""
    checkpoint: Literal["last", "best"] = "last"
    """The newest checkpoint, or the one with the best validation loss."""
    prompt: str | None = None
    """What the text begins with. Default: standard input if it is a pipe; otherwise the model begins a new text."""
    max_tokens: int = 200
    """Largest number of tokens to write."""
    sampling: tyro.conf.OmitArgPrefixes[Sampling] = field(default_factory=Sampling)
    stop: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """End the text before this string. Can be given several times."""
    seed: int | None = None
    """The same seed gives the same text. Default: a new seed each time, which is printed."""
    num_samples: int = 1
    """Number of texts to write, with a line --- between them. The second text has --seed plus 1, and so on."""
    threads: int | None = None
    """Number of threads for matrix products. Default: one for each available core."""
    device: str = "auto"
    """cpu, cuda, cuda:N for GPU number N, or auto: a GPU if there is one, else the CPU."""

    def __post_init__(self) -> None:
        for name, least in (("max_tokens", 0), ("num_samples", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")


def parse(arguments: list[str]) -> GenerateOptions:
    return tyro.cli(GenerateOptions, args=arguments, prog="generate.py")


def start(options: GenerateOptions) -> int:
    """Write what the options ask for; returns the exit status. Raises ValueError, RuntimeError or OSError."""
    run = newest_run() if options.run is None else Run(options.run)
    model, tokenizer = load_model(run, options.checkpoint, pick_device(options.device))
    prompt = read_prompt() if options.prompt is None else options.prompt
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    counter, status = TokenCounter(), 0
    try:
        for number in range(options.num_samples):
            if number > 0:
                print("---")
            ids = continue_prompt(
                model, tokenizer, prompt, max_tokens=options.max_tokens, sampling=options.sampling, seed=seed + number
            )
            print_stream(prompt, decode_until_stop(counter.count(ids), tokenizer, options.stop))
    except KeyboardInterrupt:
        status = INTERRUPTED
    print(f"{counter}, seed {seed}", file=sys.stderr)
    return status


def read_prompt() -> str:
    """Standard input without the line end after its last line, if it is a pipe or a file; "" if it is a terminal."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    print("reading the prompt from standard input", file=sys.stderr)
    return decode_prompt(sys.stdin.buffer.read())


def print_stream(prompt: str, pieces: Iterable[str]) -> None:
    """Print the prompt, then each piece as soon as it is there, and at the end a newline, also after Ctrl-C."""
    last = prompt
    print(prompt, end="", flush=True)
    try:
        for last in pieces:
            print(last, end="", flush=True)
    finally:
        print(end="" if last.endswith("\n") else "\n", flush=True)


class TokenCounter:
    """Counts generated tokens, and the seconds since it was created."""

    def __init__(self) -> None:
        self.tokens, self.began = 0, time.perf_counter()

    def count(self, ids: Iterable[int]) -> Iterator[int]:
        """Pass the ids on, and count them."""
        for id in ids:
            self.tokens += 1
            yield id

    def __str__(self) -> str:
        seconds = time.perf_counter() - self.began
        return f"{self.tokens:,} tokens in {seconds:.2f} s, {self.tokens / seconds:,.0f} tokens/s"
