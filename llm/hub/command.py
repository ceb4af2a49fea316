"""The command line of `python -m llm.hub`: inspect and convert. What is asked for goes to standard output."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from llm.console import say
from llm.hub.convert import Format, convert
from llm.hub.inspect import describe
from llm.hub.read import load_tokenizer
from llm.hub.save_gguf import Kind
from llm.hub.source import open_model
from llm.runs.commands import run
from llm.runs.parsing import DEFAULT_IN_TEXT, read_options

PROGRAM = "python -m llm.hub"


@dataclass(frozen=True)
class Inspect:
    """Show what is in a model's file or folder: configuration, tensors, memory, tokenizer."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """A folder of Hugging Face, a run of train.py, a .gguf file, or a .bin file of llama2.c."""
    tokenizer: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """The file or folder of a tokenizer. Default: the one that the model comes with."""

    def start(self) -> None:
        source = open_model(self.path)
        tokenizer = load_tokenizer(source, self.tokenizer)
        print(describe(source, tokenizer, source.read_defaults(tokenizer)))


@dataclass(frozen=True)
class Convert:
    """Write a model again, in another format: a folder that transformers loads, or a GGUF file."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """A folder of Hugging Face, a run of train.py, a .gguf file, or a .bin file of llama2.c."""
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """The new folder, or the name of a GGUF file, NAME.gguf. With --to gguf, the folder gets a file model.gguf."""
    to: Annotated[Format | None, DEFAULT_IN_TEXT] = None
    """hf: config.json, model.safetensors and the files of the tokenizer. gguf: one file for llama.cpp. Default: gguf
    for a name that ends with .gguf, otherwise hf.
    """
    kind: Annotated[Kind | None, DEFAULT_IN_TEXT] = None
    """For gguf: how the numbers of matrices are stored. Default: F16."""
    tokenizer: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """The file or folder of a tokenizer. Default: the one that the model comes with."""

    def start(self) -> None:
        say(f"written: {convert(self.path, self.folder, self.to, self.kind, self.tokenizer)}")


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0, or 1 after an error. SystemExit(2) if an option is wrong."""
    commands: Any = Inspect | Convert
    return run(
        PROGRAM,
        lambda: read_options(commands, sys.argv[1:] if arguments is None else arguments, program=PROGRAM).start(),
    )
