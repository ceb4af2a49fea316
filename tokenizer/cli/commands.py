"""The commands of `python -m tokenizer` and their options. An error becomes one sentence on standard error."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from typing import Any

import regex

from tokenizer.cli.compare import compare
from tokenizer.cli.encode import decode, encode
from tokenizer.cli.inputs import STANDARD_INPUT
from tokenizer.cli.inspect import inspect
from tokenizer.cli.replay import replay
from tokenizer.cli.train import train
from tokenizer.split.pretokenizer import PATTERNS
from tokenizer.training.vocabulary import BYTE_ORDERS

EXAMPLES = """examples, to be run in this order, in the folder that has README.md:
  python -m tokenizer train README.md --vocab-size 1000 --special '<|endoftext|>' --output my-tokenizer
  python -m tokenizer encode -t my-tokenizer README.md | python -m tokenizer decode -t my-tokenizer
  python -m tokenizer inspect -t my-tokenizer --text 'How are you?'
  python -m tokenizer replay -t my-tokenizer ' learning'
  python -m tokenizer train README.md --vocab-size 500 --output smaller.json
  python -m tokenizer compare smaller.json my-tokenizer README.md

The vocabularies of other libraries work too: -t cl100k_base.tiktoken, -t tokenizer.json, a folder with one.
"""
# Words of several help texts
OR_STANDARD_INPUT = "(- or left out: standard input)"
KNOWN_PATTERNS = f"{', '.join(PATTERNS)} or a regular expression"
FIND_SPECIAL = "encode special tokens in the text as special tokens, not as ordinary text"
# An argument of a function in an error, such as vocab_size=99: on the command line it is an option.
ARGUMENT = regex.compile(r"\b(vocab_size|max_token_length|processes|pattern)=(-?\w*)")

EXIT_INTERRUPTED = 130  # the usual exit status after Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0, or 1 after an error. SystemExit(2) if an option is wrong."""
    parsed = parser().parse_args(arguments)
    open_streams()
    warnings.showwarning = show_warning
    try:
        if sys.stdout is None and parsed.run is not train:  # `train` writes to its files and to standard error
            raise ValueError("standard output is closed, and there is nowhere to write to")
        parsed.run(parsed)
        if sys.stdout:
            sys.stdout.flush()
        return 0
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed the pipe
        discard_output()
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (OSError, ValueError, MemoryError) as error:
        print(f"tokenizer {parsed.command}: {error_message(error)}", file=sys.stderr)
        discard_output()
        return 1


def discard_output() -> None:
    """Write out the output so far, or drop it: Python would try again at exit, and report the same error again."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_streams() -> None:
    """Write the code of a character that a terminal cannot show. If standard error is closed, errors go nowhere."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # otherwise `print` would print errors to standard output
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one sentence. Python would also print a file, a line number and a line of code."""
    print(f"tokenizer: {message}", file=sys.stderr)


def error_message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "; ".join(["there is not enough memory", *getattr(error, "__notes__", [])])
    # vocab_size=99 becomes --vocab-size 99
    return ARGUMENT.sub(lambda found: f"--{found[1].replace('_', '-')} {found[2]}".rstrip(), str(error))


def whole_number(text: str) -> int:
    """The type of an option. Its errors are clearer than those of `int`."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number, such as 1000") from None


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
    _, add = new_command(commands, train, "learn a byte-pair vocabulary from texts")
    add("files", nargs="*", default=[STANDARD_INPUT], metavar="FILE", help=f"texts in UTF-8 {OR_STANDARD_INPUT}")
    add("-o", "--output", required=True, metavar="PATH", help="where to save: NAME.json, NAME.tiktoken, or a folder")
    add(
        "-n",
        "--vocab-size",
        type=whole_number,
        required=True,
        metavar="N",
        help="number of ids: bytes, special tokens, merges",
    )
    add(
        "--special",
        action="append",
        default=[],
        metavar="NAME",
        help="a special token, such as <|endoftext|>; may be repeated",
    )
    add("--pattern", metavar="P", help=f"how text is split into words: {KNOWN_PATTERNS} (default: gpt4)")
    add(
        "--min-frequency",
        type=whole_number,
        default=1,
        metavar="N",
        help="merge only pairs that occur N times or more often",
    )
    add(
        "--max-token-length",
        type=whole_number,
        metavar="N",
        help="make only tokens shorter than N bytes, or of 2 bytes",
    )
    add("--only-seen-bytes", action="store_true", help="give no tokens to bytes that do not occur in the texts")
    ties = "which of equally frequent pairs is merged first: the choice of this library (default: %(default)s)"
    add("--ties", choices=BYTE_ORDERS, default="huggingface", help=ties)
    add(
        "--processes",
        type=whole_number,
        default=1,
        metavar="N",
        help="processes that count words; does not change the result",
    )


def add_encode(commands: argparse._SubParsersAction) -> None:
    command, add = new_command(commands, encode, "turn text into ids")
    add_tokenizer(add)
    add_input(command, "a text, or any bytes")
    add("--allow-special", action="store_true", help=FIND_SPECIAL)
    form = command.add_mutually_exclusive_group().add_argument  # binary numbers have no lines
    form("--lines", action="store_true", help="encode each line by itself, without its line end")
    form("--binary", choices=["uint16", "uint32"], help="write the ids as binary numbers (little-endian), not as text")


def add_decode(commands: argparse._SubParsersAction) -> None:
    _, add = new_command(commands, decode, "turn ids back into text")
    add_tokenizer(add)
    add("file", nargs="?", default=STANDARD_INPUT, metavar="FILE", help=f"ids as text {OR_STANDARD_INPUT}")
    add("--lines", action="store_true", help="decode each line of ids by itself, and write a line end after it")
    add("--skip-special", action="store_true", help="leave out special tokens")


def add_inspect(commands: argparse._SubParsersAction) -> None:
    command, add = new_command(commands, inspect, "show the tokens of a text")
    add_tokenizer(add)
    add_input(command, "a text, or any bytes")
    add("--allow-special", action="store_true", help=FIND_SPECIAL)
    add("--no-table", action="store_true", help="show only the text, not the table of tokens")
    add_color(add)


def add_compare(commands: argparse._SubParsersAction) -> None:
    command, add = new_command(
        commands, compare, "compare how many tokens two tokenizers need, by script (Latin, Han, ...)"
    )
    add("tokenizers", nargs=2, metavar="TOKENIZER", help="a tokenizer: a file or a folder")
    add_pattern(add)
    add_input(command, "a text in UTF-8")


def add_replay(commands: argparse._SubParsersAction) -> None:
    _, add = new_command(
        commands, replay, "show the merges of a word one by one, with their ranks and counts in training"
    )
    add_tokenizer(add)
    add("word", metavar="WORD", help="a word, or a short text")
    add_color(add)


def new_command(commands: Any, run: Callable[[argparse.Namespace], None], what: str) -> tuple[Any, Any]:
    """Add a command, which has the name of the function `run`. Returns it, and its method that adds arguments."""
    command = commands.add_parser(run.__name__, help=what, description=f"{what[0].upper()}{what[1:]}.")
    command.set_defaults(run=run)
    return command, command.add_argument


# Arguments of several commands


def add_tokenizer(add: Any) -> None:
    tokenizer = "a tokenizer: a tokenizer.json, a vocabulary in another format, or a folder with one"
    add("-t", "--tokenizer", required=True, metavar="PATH", help=tokenizer)
    add_pattern(add)


def add_pattern(add: Any) -> None:
    add(
        "--pattern",
        metavar="P",
        help=f"how text is split into words, only if the file does not say it: {KNOWN_PATTERNS}",
    )


def add_input(command: argparse.ArgumentParser, what: str) -> None:
    add = command.add_mutually_exclusive_group().add_argument
    add("file", nargs="?", default=STANDARD_INPUT, metavar="FILE", help=f"{what} {OR_STANDARD_INPUT}")
    add("--text", help="use this text instead of a file")


def add_color(add: Any) -> None:
    color = "use colours; auto: in a terminal, unless NO_COLOR is set (default: %(default)s)"
    add("--color", choices=["auto", "always", "never"], default="auto", help=color)
