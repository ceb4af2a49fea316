"""The command line of `python -m llm.tuning`: show, exercises, accuracy. What is asked for goes to standard output."""

from __future__ import annotations

import sys
from typing import Any

from llm.console import explain, open_streams, say, show_warnings, silence
from llm.runs.parsing import read_options
from llm.tuning.accuracy import Measure
from llm.tuning.chat.show import Show
from llm.tuning.exercises import Exercises

PROGRAM = "python -m llm.tuning"
COMMANDS: dict[str, Any] = {"show": Show, "exercises": Exercises, "accuracy": Measure}
USAGE = f"""usage: {PROGRAM} {{show,exercises,accuracy}} --help

show        which tokens of a file of examples a model would learn
exercises   questions that a program makes, with their answers
accuracy    how many of them a model answers right
"""
INTERRUPTED = 130  # exit status of a program that Ctrl-C ended: 128 + SIGINT


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0, or 1 after an error. SystemExit(2) if an option is wrong."""
    open_streams(unprintable="backslashreplace")
    show_warnings(say)
    name, *others = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        if name in ("-h", "--help"):
            print(USAGE, flush=True)
            return 0
        if name not in COMMANDS:
            say(f"{PROGRAM}: there is no command {name!r}; choose one of {', '.join(COMMANDS)}")
            return 2
        read_options(COMMANDS[name], others, program=f"{PROGRAM} {name}").start()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        silence(sys.stdout)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, RuntimeError, OSError) as error:
        say(f"{PROGRAM}: {explain(error) if isinstance(error, OSError) else error}")
        return 1
    return 0
