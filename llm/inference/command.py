"""The command line of `generate.py`: options, where the prompt comes from, and the text on the terminal.

Only the text goes to standard output. Messages go to standard error.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from llm.console import escaped, say, silence
from llm.data.text import decode_prompt
from llm.hub.load import Weights
from llm.inference.model_choice import Writer, load_other, load_run, sampling_of
from llm.inference.sampling import Sampling
from llm.inference.server.options import ServerOptions
from llm.inference.text import continue_prompt, decode_until_stop
from llm.parallel.blas import blas_threads
from llm.parallel.runtime import set_blas_threads
from llm.runs.parsing import DEFAULT_IN_TEXT, flag, read_options, read_some
from llm.runs.run import Run, newest_run
from minigrad.backend import pick_device
from tokenizer.models.char import UnknownCharacter

INTERRUPTED = 130  # exit status of a program that Ctrl-C ended: 128 + SIGINT


@dataclass(frozen=True)
class GenerateOptions:
    """Write text with a trained model: python generate.py --prompt "The class" """

    run: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """Folder of the run. Default: the newest one in runs/."""
    checkpoint: Literal["last", "best"] = "last"
    """The newest checkpoint of the run, or the one with the best validation loss."""
    model: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """The model of somebody else, instead of a run: a folder of Hugging Face, a .gguf file, a .bin file of llama2.c.
    Sampling options that are not given have the values that the model comes with.
    """
    weights: Weights = "widened"
    """For --model. widened: all weights are float32 in memory. stored: they stay as they are in the file (bf16, f16,
    q8), and are widened where they are used, which takes less memory and more time.
    """
    tokenizer: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """For --model: the file or folder of a tokenizer. Default: the one that the model comes with."""
    prompt: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """What the text begins with. Default: standard input if it is a pipe; otherwise the model begins a new text."""
    max_tokens: int = 200
    """Largest number of tokens to write."""
    sampling: tyro.conf.OmitArgPrefixes[Sampling] = field(default_factory=Sampling)
    stop: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """End the text before this string. Can be given several times."""
    seed: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """The same seed gives the same text. Default: a new seed each time, which is printed."""
    num_samples: int = 1
    """Number of texts to write, with a line --- between them. The second text has --seed plus 1, and so on."""
    serve: bool = False
    """Answer over HTTP, with OpenAI's API and a page, instead of writing one text."""
    server: tyro.conf.OmitArgPrefixes[ServerOptions] = field(default_factory=ServerOptions)
    threads: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """Number of threads for matrix products. none, the default: one for a small model, else one for each idle core."""
    device: str = "auto"
    """cpu, cuda, cuda:N for GPU number N, or auto: a GPU if there is one, else the CPU."""

    def __post_init__(self) -> None:
        for name, least in (("max_tokens", 0), ("num_samples", 1), ("seed", 0), ("threads", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{flag(name)} must be at least {least}, got {value}")
        if self.model is not None and (self.run is not None or self.checkpoint == "best"):
            raise ValueError("--run and --checkpoint choose a run, and --model another model; give one of the two")
        if self.model is None and (self.tokenizer is not None or self.weights == "stored"):
            raise ValueError("--tokenizer and --weights stored are for --model; a run has its own tokenizer")


@dataclass(frozen=True)
class _FirstOptions:
    """The option that is read first, because the defaults of others depend on it."""

    model: str | None = None


def parse(arguments: list[str]) -> GenerateOptions:
    """The options. Raises ValueError for a file of the model's sampling values that cannot be read."""
    first, others = read_some(_FirstOptions, arguments, program="generate.py")
    asks_help = bool({"-h", "--help"} & set(others))  # which comes before anything that can fail
    defaults = GenerateOptions(sampling=sampling_of(None if asks_help else first.model))
    return read_options(GenerateOptions, arguments, program="generate.py", default=defaults)


def start(options: GenerateOptions) -> int:
    """Write what the options ask for; returns the exit status. Raises ValueError, RuntimeError or OSError."""
    writer = load_writer(options)
    model, tokenizer = writer.model, writer.tokenizer
    set_blas_threads(blas_threads(options.threads, model.num_parameters()))
    if options.serve:
        return serve(writer, options)
    prompt = read_prompt() if options.prompt is None else options.prompt
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    counter, status = TokenCounter(), 0
    try:
        for number in range(options.num_samples):
            if number > 0:
                print_text("---\n")
            ids = continue_prompt(
                model,
                tokenizer,
                prompt,
                max_tokens=options.max_tokens,
                sampling=options.sampling,
                seed=seed + number,
                end_ids=writer.end_ids,
            )
            text = decode_until_stop(counter.count(ids), tokenizer, options.stop, mid_text=bool(prompt))
            print_stream(prompt, text)
    except UnknownCharacter as error:
        raise ValueError(
            f"the character {error.character!r} is not among the {error.known} of the tokenizer of {writer.name}; "
            "leave it out of the prompt"
        ) from None
    except KeyboardInterrupt:
        status = INTERRUPTED
    say(f"{counter}, seed {seed}")
    return status


def serve(writer: Writer, options: GenerateOptions) -> int:
    """Answer over HTTP until Ctrl-C. Raises RuntimeError if a package is missing, OSError if the port is not free."""
    try:
        from llm.inference.server.run import serve
    except ImportError as error:
        raise RuntimeError(f"--serve needs {error.name}; pip install starlette uvicorn jinja2") from None
    return serve(writer, options.sampling, options.server)


def load_writer(options: GenerateOptions) -> Writer:
    """The model that the options ask for."""
    if options.model is not None:
        return load_other(options.model, options.tokenizer, options.weights, options.device)
    run = Run(options.run) if options.run is not None else newest_run()
    if options.run is None:
        say(f"writing with {run}, the run that was changed last")
    return load_run(run, options.checkpoint, pick_device(options.device))


def read_prompt() -> str:
    """Standard input without the line end after its last line, if it is a pipe or a file; "" if it is a terminal."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    say("reading the prompt from standard input")
    return decode_prompt(sys.stdin.buffer.read())


def print_text(text: str) -> None:
    """Write to standard output, at once. Raises OSError, with a sentence, when that is not possible."""
    try:
        print(escaped(text, sys.stdout), end="", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:  # a file on a disk that is full
        silence(sys.stdout)  # otherwise Python would try again at its end, and print its own message
        raise OSError(f"the text could not be written to standard output ({error.strerror})") from None


def print_stream(prompt: str, pieces: Iterable[str]) -> None:
    """Print the prompt, then each piece as soon as it is there, and at the end a newline, also after Ctrl-C."""
    last = prompt
    print_text(prompt)
    try:
        for last in pieces:
            print_text(last)
    finally:
        print_text("" if last.endswith("\n") else "\n")


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
