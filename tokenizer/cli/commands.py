"""The commands of `python -m tokenizer` and their options. An error becomes one sentence on standard error."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from typing import Any

from tokenizer.cli.compare import compare
from tokenizer.cli.encode import decode, encode
from tokenizer.cli.inputs import STANDARD_INPUT
from tokenizer.cli.inspect import inspect
from tokenizer.cli.replay import replay
from tokenizer.cli.train import train
from tokenizer.split.pretokenizer import PATTERNS
from tokenizer.training.vocabulary import BYTE_ORDERS

EXAMPLES = """examples:
  python -m tokenizer train book.txt --vocab-size 4096 --special '<|endoftext|>' --output my-tokenizer
  python -m tokenizer encode -t my-tokenizer book.txt | python -m tokenizer decode -t my-tokenizer
  python -m tokenizer inspect -t cl100k_base.tiktoken --text 'How are you?'
  python -m tokenizer compare gpt2 my-tokenizer book.txt
  python -m tokenizer replay -t my-tokenizer ' learning'
"""
EXIT_INTERRUPTED = 130  # the exit status of a program that Ctrl-C has ended


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, 1 after an error, 2 (by SystemExit) if the command line makes no sense."""
    parsed = parser().parse_args(arguments)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that cannot show UTF-8
    try:
        parsed.run(parsed)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed the pipe. Without this, Python would report it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (OSError, ValueError, MemoryError) as error:
        print(f"tokenizer {parsed.command}: {sentence(error)}", file=sys.stderr)
        return 1


def sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or "there is not enough memory"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m tokenizer",
        description="Train tokenizers, encode and decode with them, and inspect what they do.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_train(commands)
    add_encode(commands)
    add_decode(commands)
    add_inspect(commands)
    add_compare(commands)
    add_replay(commands)
    return top


def add_train(commands: argparse._SubParsersAction) -> None:
    add = added(commands, "train", train, "learn a vocabulary from texts")
    files = "texts in UTF-8 (- or nothing: standard input)"
    add("files", nargs="*", default=[STANDARD_INPUT], metavar="FILE", help=files)
    add("-o", "--output", required=True, metavar="PATH", help="a folder, or a file NAME.json or NAME.tiktoken")
    size = "number of ids, including the 256 bytes and special tokens"
    add("-n", "--vocab-size", type=int, required=True, metavar="N", help=size)
    special = "a special token, such as '<|endoftext|>'; may be repeated"
    add("--special", action="append", default=[], metavar="NAME", help=special)
    add_pattern(add)
    add("--min-frequency", type=int, default=1, metavar="N", help="do not join pairs that occur less often")
    length = "tokens are shorter than N bytes (except those of 2 bytes)"
    add("--max-token-length", type=int, metavar="N", help=length)
    add("--only-seen-bytes", action="store_true", help="no tokens for bytes that do not occur in the texts")
    ties = "the library whose order decides between equally frequent pairs"
    add("--ties", choices=BYTE_ORDERS, default="huggingface", help=ties)
    processes = "number of processes that count words; the result is the same"
    add("--processes", type=int, default=1, metavar="N", help=processes)


def add_encode(commands: argparse._SubParsersAction) -> None:
    add = added(commands, "encode", encode, "text to ids")
    add_tokenizer(add)
    add_input(add, "any bytes, even if they are not UTF-8")
    add_special(add)
    add("--lines", action="store_true", help="encode each line by itself")
    binary = "write binary numbers (little-endian) instead of text"
    add("--binary", choices=["uint16", "uint32"], help=binary)


def add_decode(commands: argparse._SubParsersAction) -> None:
    add = added(commands, "decode", decode, "ids to text")
    add_tokenizer(add)
    add("file", nargs="?", default=STANDARD_INPUT, help="ids as text (- or nothing: standard input)")
    add("--lines", action="store_true", help="decode each line of ids by itself, and write a line end after it")
    add("--skip-special", action="store_true", help="leave out special tokens")


def add_inspect(commands: argparse._SubParsersAction) -> None:
    add = added(commands, "inspect", inspect, "show which tokens a text becomes")
    add_tokenizer(add)
    add_input(add, "any bytes")
    add_special(add)
    add("--no-table", action="store_true", help="show only the text, not the table of tokens")
    add_color(add)


def add_compare(commands: argparse._SubParsersAction) -> None:
    add = added(commands, "compare", compare, "compare two vocabularies on a text, by script")
    add("tokenizers", nargs=2, metavar="TOKENIZER", help="files or folders")
    add_pattern(add)
    add_input(add, "a text in UTF-8")


def add_replay(commands: argparse._SubParsersAction) -> None:
    what = "show the merges of a word one by one, and how often each pair occurred in training"
    add = added(commands, "replay", replay, what)
    add_tokenizer(add)
    add("word", help="a word, or a short text")
    add_color(add)


def added(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], None], what: str
) -> Callable[..., Any]:
    """Add a command. Returns the method that adds arguments to it."""
    command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    command.set_defaults(run=run)
    return command.add_argument


# Arguments of several commands


def add_tokenizer(add: Callable[..., Any]) -> None:
    tokenizer = "a tokenizer.json, another vocabulary or a folder with one"
    add("-t", "--tokenizer", required=True, metavar="PATH", help=tokenizer)
    add_pattern(add)


def add_pattern(add: Callable[..., Any]) -> None:
    known = ", ".join(PATTERNS)
    pattern = f"how text is split into words, if no file says it: {known} or a regular expression"
    add("--pattern", metavar="P", help=pattern)


def add_input(add: Callable[..., Any], what: str) -> None:
    add("file", nargs="?", default=STANDARD_INPUT, help=f"{what} (- or nothing: standard input)")
    add("--text", help="a text instead of a file")


def add_special(add: Callable[..., Any]) -> None:
    special = "encode special tokens in the text as such, not as plain text"
    add("--special", action="store_true", help=special)


def add_color(add: Callable[..., Any]) -> None:
    color = "auto means: in a terminal, unless NO_COLOR is set"
    add("--color", choices=["auto", "always", "never"], default="auto", help=color)
