"""What `generate.py` does: a text, a chat, classes of texts, or a server. options.py has its options."""

from __future__ import annotations

import secrets
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from llm.console import say
from llm.inference.constrain import Constraint
from llm.inference.generate import first_in_context
from llm.inference.model_choice import (
    LoadedModel,
    check_kind,
    in_bf16,
    load_other,
    load_run,
    with_adapter,
    with_adapters,
)
from llm.inference.options import GenerateOptions, parse
from llm.inference.terminal.attention_picture import draw_attention
from llm.inference.terminal.chat import Chat
from llm.inference.terminal.classes import print_classes
from llm.inference.terminal.lens_tables import print_lens
from llm.inference.terminal.streams import INTERRUPTED, print_text, read_prompt
from llm.inference.terminal.text_writer import Text, TextWriter
from llm.inference.terminal.token_output import output_for
from llm.inference.terminal.translations import print_translations
from llm.inference.text import prompt_ids
from llm.model.transformer import Transformer
from llm.parallel.blas import blas_threads
from llm.parallel.runtime import set_blas_threads
from llm.runs.find import newest_run
from llm.runs.run import Run
from minigrad.backend import pick_device
from tokenizer.models.char import UnknownCharacter

__all__ = ["parse", "start"]


def start(options: GenerateOptions) -> int:
    """Do what the options ask for; returns the exit status. Raises ValueError, RuntimeError or OSError."""
    loaded = load_chosen(options)
    if options.adapter and not options.serve:
        loaded = with_adapter(loaded, options.adapter[0])
    check_kind(loaded, classify=options.classify)
    options.check_translator(translates=isinstance(loaded.model, Transformer))
    if options.serve:
        loaded = with_adapters(loaded, options.adapter)
    set_blas_threads(blas_threads(options.threads, loaded.model.num_parameters()))
    if isinstance(loaded.model, Transformer):
        return print_translations(loaded, options)
    if options.classify:
        return print_classes(loaded.model, loaded.tokenizer, options.prompt)
    if options.serve or options.chat:
        keep_running_without_readers()
    return serve(loaded, options) if options.serve else write(loaded, options)


def write(loaded: LoadedModel, options: GenerateOptions) -> int:
    """Write texts, or the answers of a chat."""
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    text_writer = TextWriter(loaded, options)
    status = INTERRUPTED  # if Ctrl-C ends the block
    try:
        with suppress(KeyboardInterrupt):
            status = Chat(loaded, text_writer, seed).run() if options.chat else write_texts(loaded, text_writer, seed)
    except UnknownCharacter as error:
        raise ValueError(
            f"the character {error.character!r} is not among the {error.known} of the tokenizer of {loaded.name}; "
            "leave it out of the prompt"
        ) from None
    say(f"{text_writer.counter}, seed {seed}")
    return status


def write_texts(loaded: LoadedModel, text_writer: TextWriter, seed: int) -> int:
    """Write what follows the prompt, as often as the options say, and show of the model what they ask for."""
    options = text_writer.options
    prompt = read_prompt() if options.prompt is None else options.prompt
    ids = prompt_ids(loaded.model, loaded.tokenizer, prompt)
    constraint = text_writer.constraint(mid_text=bool(prompt))
    if options.show.logit_lens:
        seen = ids[first_in_context(len(ids), loaded.model.context) :]
        print_lens(loaded.model, loaded.tokenizer, seen)
    for number in range(options.num_samples):
        if number > 0:
            print_text("---\n")
        text = write_one(text_writer, prompt, ids, constraint, seed + number)
    if options.show.attention is not None:
        draw_attention(loaded.model, loaded.tokenizer, text.ids, Path(options.show.attention))
        say(f"drew {options.show.attention}")
    return 0


def write_one(text_writer: TextWriter, prompt: str, ids: list[int], constraint: Constraint | None, seed: int) -> Text:
    """Write one text after the prompt, whose ids are given too."""
    options = text_writer.options
    output = output_for(text_writer.tokenizer, show_probs=options.show.show_probs)
    text_writer.say_if_long(ids)
    output.begin(prompt)
    try:
        text = text_writer.write(ids, output, seed=seed, constraint=constraint, mid_text=bool(prompt))
    finally:
        output.end()
    if constraint is not None and text.end == "length":
        say(f"the text does not match yet: it was cut off after --max-tokens {options.max_tokens}")
    return text


def serve(loaded: LoadedModel, options: GenerateOptions) -> int:
    """Answer over HTTP until Ctrl-C. Raises RuntimeError if a package is missing, OSError if the port is not free."""
    try:
        from llm.inference.server import run  # its packages are an extra
    except ImportError as error:
        raise RuntimeError(
            f"--serve needs {error.name}; install it in the folder of this project: pip install -e '.[serve]'"
        ) from None
    return run.serve(loaded, options.sampling, options.server)


def keep_running_without_readers() -> None:
    """Writing to a pipe or a connection that the other side has closed raises an error, and does not end the program.

    Otherwise a client that hangs up would end the server, and a chat template that goes beyond its limits the chat.
    """
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def load_chosen(options: GenerateOptions) -> LoadedModel:
    """The model that the options ask for."""
    if options.precision == "bf16":
        return in_bf16(load_chosen(replace(options, precision="fp32", device="cpu")))
    if options.model is not None:
        return load_other(options.model, options.tokenizer, options.weights, options.device)
    run = Run(options.run) if options.run is not None else newest_run()
    if options.run is None:
        say(f"writing with {run}, the run that was changed last")
    return load_run(run, options.checkpoint, pick_device(options.device))
