"""A program with several commands, such as `python -m llm.data clean`: choosing one, and telling errors in a sentence.

A command is a dataclass of options (parsing.py) with a method `start`. Its module is imported when it is chosen.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from llm.console import explain, open_streams, say, show_warnings, silence
from llm.runs.parsing import read_options

INTERRUPTED = 130  # exit status of a program that Ctrl-C ended: 128 + SIGINT
WRONG_OPTION = 2  # exit status, as that of tyro


class Command(NamedTuple):
    module: str
    options: str  # the name of the dataclass in it
    purpose: str  # for --help


def run_command(program: str, commands: Mapping[str, Command], arguments: list[str] | None = None) -> int:
    """Run the command that the arguments name. Returns the exit status. SystemExit(2) if an option is wrong."""
    name, *others = (sys.argv[1:] if arguments is None else arguments) or ["--help"]

    def work() -> None:
        if name in ("-h", "--help"):
            print(usage(program, commands), flush=True)
        else:
            command = commands[name]
            options = getattr(importlib.import_module(command.module), command.options)
            read_options(options, others, program=f"{program} {name}").start()

    if name not in {"-h", "--help", *commands}:
        open_streams(unprintable="backslashreplace")
        say(f"{program}: there is no command {name!r}; choose one of {', '.join(commands)}")
        return WRONG_OPTION
    return run(program, work)


def usage(program: str, commands: Mapping[str, Command]) -> str:
    width = max(map(len, commands)) + 3
    lines = [f"{name:{width}}{command.purpose}" for name, command in commands.items()]
    return "\n".join([f"usage: {program} {{{','.join(commands)}}} --help", "", *lines])


def run(program: str, work: Callable[[], object]) -> int:
    """Do the work of a program. Returns its exit status: 0, or 1 after an error, which is told in one sentence."""
    open_streams(unprintable="backslashreplace")
    show_warnings(say)
    try:
        work()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        silence(sys.stdout)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, RuntimeError, OSError, MemoryError) as error:
        _silence_if_broken()
        say(f"{program}: {_sentence(error)}")
        return 1
    return 0


def _sentence(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory; end other programs, or use a machine with more"
    return explain(error) if isinstance(error, OSError) else str(error)


def _silence_if_broken() -> None:
    """Python writes the rest of standard output at its end. If that is impossible, it would print an error again."""
    try:
        sys.stdout.flush()
    except OSError:
        silence(sys.stdout)
