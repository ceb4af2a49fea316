"""What `generate.py` does: a text, a chat, or a server. options.py has its options."""

from __future__ import annotations

import secrets
import signal
from contextlib import suppress
from pathlib import Path

from llm.console import say
from llm.inference.generate import first_in_context
from llm.inference.model_choice import Writer, load_other, load_run
from llm.inference.options import GenerateOptions, parse
from llm.inference.terminal.inspection_views import draw_attention, lens_table
from llm.inference.terminal.streams import print_text, read_prompt
from llm.inference.terminal.text_writer import TextWriter
from llm.inference.terminal.token_output import output_for
from llm.inference.text import prompt_ids
from llm.parallel.blas import blas_threads
from llm.parallel.runtime import set_blas_threads
from llm.runs.run import Run, newest_run
from minigrad.backend import pick_device
from tokenizer.models.char import UnknownCharacter

__all__ = ["parse", "start"]

INTERRUPTED = 130  # exit status of a program that Ctrl-C ended: 128 + SIGINT


def start(options: GenerateOptions) -> int:
    """Do what the options ask for; returns the exit status. Raises ValueError, RuntimeError or OSError."""
    writer = load_writer(options)
    set_blas_threads(blas_threads(options.threads, writer.model.num_parameters()))
    if options.serve or options.chat:
        keep_running_without_readers()
    if options.serve:
        return serve(writer, options)
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    text_writer = TextWriter(writer, options)
    status = INTERRUPTED
    try:
        with suppress(KeyboardInterrupt):
            status = chat(writer, text_writer, seed) if options.chat else write_texts(writer, text_writer, seed)
    except UnknownCharacter as error:
        raise ValueError(
            f"the character {error.character!r} is not among the {error.known} of the tokenizer of {writer.name}; "
            "leave it out of the prompt"
        ) from None
    say(f"{text_writer.counter}, seed {seed}")
    return status


def write_texts(writer: Writer, text_writer: TextWriter, seed: int) -> int:
    """Write what follows the prompt, as often as the options say."""
    options, tokenizer = text_writer.options, writer.tokenizer
    prompt = read_prompt() if options.prompt is None else options.prompt
    ids = prompt_ids(writer.model, tokenizer, prompt)
    constraint = text_writer.constraint(mid_text=bool(prompt))
    if options.show.logit_lens:
        seen = ids[first_in_context(len(ids), writer.model.config.context) :]
        print_text(lens_table(writer.model, tokenizer, seen))
    output = output_for(tokenizer, show_probs=options.show.show_probs)
    for number in range(options.num_samples):
        if number > 0:
            print_text("---\n")
        output.begin(prompt)
        try:
            text = text_writer.write(ids, output, seed=seed + number, constraint=constraint, mid_text=bool(prompt))
        finally:
            output.end()
        if constraint is not None and text.end == "length":
            say(f"the text does not match yet: it was cut off after --max-tokens {options.max_tokens}")
    if options.show.attention is not None:
        draw_attention(writer.model, text.ids, Path(options.show.attention))
        say(f"drew {options.show.attention}")
    return 0


def chat(writer: Writer, text_writer: TextWriter, seed: int) -> int:
    from llm.inference.terminal.chat import Chat

    return Chat(writer, text_writer, seed).run()


def serve(writer: Writer, options: GenerateOptions) -> int:
    """Answer over HTTP until Ctrl-C. Raises RuntimeError if a package is missing, OSError if the port is not free."""
    try:
        from llm.inference.server.run import serve
    except ImportError as error:
        raise RuntimeError(f"--serve needs {error.name}; pip install starlette uvicorn jinja2") from None
    return serve(writer, options.sampling, options.server)


def keep_running_without_readers() -> None:
    """Writing to a pipe or a connection that the other side has closed raises an error, and does not end the program.

    Otherwise a client that hangs up would end the server, and a chat template that goes beyond its limits the chat.
    """
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def load_writer(options: GenerateOptions) -> Writer:
    """The model that the options ask for."""
    if options.model is not None:
        return load_other(options.model, options.tokenizer, options.weights, options.device)
    run = Run(options.run) if options.run is not None else newest_run()
    if options.run is None:
        say(f"writing with {run}, the run that was changed last")
    return load_run(run, options.checkpoint, pick_device(options.device))
