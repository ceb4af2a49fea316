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
# Words of several help texts
OR_STANDARD_INPUT = "(- or left out: standard input)"
KNOWN_PATTERNS = f"{', '.join(PATTERNS)} or a regular expression"
FIND_SPECIAL = "encode special tokens in the text as special tokens, not as ordinary text"

EXIT_INTERRUPTED = 130  # the usual exit status after Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0, or 1 after an error. SystemExit(2) if an option is wrong."""
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
        print(f"tokenizer {parsed.command}: {error_message(error)}", file=sys.stderr)
        return 1


def error_message(error: Exception) -> str:
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
    for add_command in add_train, add_encode, add_decode, add_inspect, add_compare, add_replay:
        add_command(commands)
    return top


def add_train(commands: argparse._SubParsersAction) -> None:
    add = new_command(commands, train, "learn a byte-pair vocabulary from texts")
    add("files", nargs="*", default=[STANDARD_INPUT], metavar="FILE", help=f"texts in UTF-8 {OR_STANDARD_INPUT}")
    add("-o", "--output", required=True, metavar="PATH", help="where to save: a folder, NAME.json or NAME.tiktoken")
    add("-n", "--vocab-size", type=int, required=True, metavar="N", help="number of ids: bytes, special tokens, merges")
    add("--special", action="append", default=[], metavar="NAME", help="such as <|endoftext|>; may be repeated")
    add("--pattern", metavar="P", help=f"how text is split into words: {KNOWN_PATTERNS} (default: gpt4)")
    add("--min-frequency", type=int, default=1, metavar="N", help="merge only pairs that occur N times or more often")
    add("--max-token-length", type=int, metavar="N", help="make no token of N bytes or more, except of 2 bytes")
    add("--only-seen-bytes", action="store_true", help="give no tokens to bytes that do not occur in the texts")
    ties = "which of equally frequent pairs is merged first: the choice of this library (default: %(default)s)"
    add("--ties", choices=BYTE_ORDERS, default="huggingface", help=ties)
    add("--processes", type=int, default=1, metavar="N", help="processes that count words; does not change the result")


def add_encode(commands: argparse._SubParsersAction) -> None:
    add = new_command(commands, encode, "turn text into ids")
    add_tokenizer(add)
    add_input(add, "a text, or any bytes")
    add("--special", action="store_true", help=FIND_SPECIAL)
    add("--lines", action="store_true", help="encode each line by itself, without its line end")
    add("--binary", choices=["uint16", "uint32"], help="write the ids as binary numbers (little-endian), not as text")


def add_decode(commands: argparse._SubParsersAction) -> None:
    add = new_command(commands, decode, "turn ids back into text")
    add_tokenizer(add)
    add("file", nargs="?", default=STANDARD_INPUT, metavar="FILE", help=f"ids as text {OR_STANDARD_INPUT}")
    add("--lines", action="store_true", help="decode each line of ids by itself, and write a line end after it")
    add("--skip-special", action="store_true", help="leave out special tokens")


def add_inspect(commands: argparse._SubParsersAction) -> None:
    add = new_command(commands, inspect, "show the tokens of a text")
    add_tokenizer(add)
    add_input(add, "a text, or any bytes")
    add("--special", action="store_true", help=FIND_SPECIAL)
    add("--no-table", action="store_true", help="show only the text, not the table of tokens")
    add_color(add)


def add_compare(commands: argparse._SubParsersAction) -> None:
    add = new_command(commands, compare, "compare how many tokens two tokenizers need, by script (Latin, Han, ...)")
    add("tokenizers", nargs=2, metavar="TOKENIZER", help="a tokenizer: a file or a folder")
    add_pattern(add)
    add_input(add, "a text in UTF-8")


def add_replay(commands: argparse._SubParsersAction) -> None:
    add = new_command(commands, replay, "show the merges of a word one by one, with their ranks and counts in training")
    add_tokenizer(add)
    add("word", metavar="WORD", help="a word, or a short text")
    add_color(add)


def new_command(commands: argparse._SubParsersAction, run: Callable[[argparse.Namespace], None], what: str) -> Any:
    """Add a command, which has the name of the function `run`. Returns the method that adds arguments to it."""
    command = commands.add_parser(run.__name__, help=what, description=f"{what[0].upper()}{what[1:]}.")
    command.set_defaults(run=run)
    return command.add_argument


# Arguments of several commands


def add_tokenizer(add: Any) -> None:
    tokenizer = "a tokenizer: a tokenizer.json, a vocabulary in another format, or a folder with one"
    add("-t", "--tokenizer", required=True, metavar="PATH", help=tokenizer)
    add_pattern(add)


def add_pattern(add: Any) -> None:
    add("--pattern", metavar="P", help=f"how text is split into words, if the file does not say it: {KNOWN_PATTERNS}")


def add_input(add: Any, what: str) -> None:
    add("file", nargs="?", default=STANDARD_INPUT, metavar="FILE", help=f"{what} {OR_STANDARD_INPUT}")
    add("--text", help="use this text instead of a file")


def add_color(add: Any) -> None:
    color = "use colours; auto: in a terminal, unless NO_COLOR is set (default: %(default)s)"
    add("--color", choices=["auto", "always", "never"], default="auto", help=color)
