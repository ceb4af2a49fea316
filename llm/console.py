"""What train.py and generate.py do as programs: standard streams that take any text, messages, and commands to copy.

Streams differ from place to place: a Windows console or `> log.txt` may have only 256 characters, a service may run
with closed streams, a disk may be full. None of this may end a program that has worked for hours.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

# What asks a program to stop: Ctrl-C, `kill` or the end of a batch job, a terminal that is closed (not on Windows).
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk full; more than the user, or than one file, may have
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
# Tab, line feed, and carriage return before a line feed do no harm.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
CLONE = Path(__file__).parents[1]  # where the scripts are, unless this package was installed from a wheel


def open_streams(unprintable: str) -> None:
    """Make standard input, output and error usable, whatever they are.

    `unprintable`: what standard output writes for a character that it cannot encode: "replace" for a question mark,
    "backslashreplace" for its number. Standard error always writes the number. Closed streams become empty ones.
    """
    # In this order, each gets its number: 0, 1, 2. If 2 stayed free, the next file that is opened would get it,
    # and messages would be written into that file.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # how Python shows that a stream was closed
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  until the program ends
    for stream, errors in ((sys.stdout, unprintable), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def silence(stream: TextIO | None) -> None:
    """Throw away what is written to a standard stream from now on, and what is still in its buffer."""
    if stream in (sys.__stdout__, sys.__stderr__) and stream is not None:
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, stream.fileno())
        os.close(handle)


def escaped(text: str, stream: TextIO | None) -> str:
    """`text`, to be written to `stream`: for a terminal, control characters are replaced by such as \\x1b.

    A terminal obeys them: a text by a model, or the name of a file, could move the cursor, or hide other lines.
    """
    if stream is None or not stream.isatty():
        return text
    return CONTROL_CHARACTERS.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def say(text: str) -> None:
    """Write a line to standard error. A program goes on if that cannot be written: it is only a message."""
    try:
        print(escaped(text, sys.stderr), file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def show_warnings(write: Callable[[str], object]) -> None:
    """From now on, a UserWarning, which is meant for the user, is written as a plain sentence: `write(sentence)`.

    Python itself would also print a file, a line number and a line of code.
    """
    show_others = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if category is UserWarning:
            write(str(message))
        else:
            show_others(message, category, *place, **more)

    warnings.showwarning = show


def explain(error: OSError) -> str:
    """A sentence for an error of the system: what failed, and what to do. For errors that have no better message."""
    place = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    if error.errno in NO_ROOM:
        return f"{place}; make room on that disk, or choose another folder"
    if error.errno in NOT_ALLOWED:
        return f"{place}; allow it, or choose another folder"
    return place


@contextmanager
def errors_as_sentences(program: str, memory_advice: str) -> Iterator[None]:
    """If the block raises an error that users can cause, end the program with one sentence and exit status 1."""
    try:
        yield
    except BrokenPipeError:  # the program that reads our output has ended, as in `train.py --help | head`
        silence(sys.stdout)  # or Python would complain at its end that it cannot write the rest
        sys.exit(1)
    except (ValueError, RuntimeError) as error:
        sentence = str(error)
    except OSError as error:
        sentence = explain(error)
    except MemoryError as error:
        advice = "; ".join(getattr(error, "__notes__", [memory_advice]))  # notes: llm/training/memory.py
        sentence = f"not enough memory ({error}); {advice}"
    else:
        return
    sys.exit(escaped(f"{program}: {sentence}", sys.stderr))


def command_line(script: str, *words: str) -> str:
    """A command to copy, such as "python generate.py --run 'my run'", with Python and the folder that are in use."""
    python, folder = "python", CLONE
    if Path(sys.argv[0]).name in ("train.py", "generate.py") and Path(sys.argv[0]).is_file():
        # As they were typed: .venv/bin/python, where no environment is active, and ../minigrad/train.py.
        python, folder = sys.orig_argv[0], Path(sys.argv[0]).parent
    elif Path(script).absolute() == CLONE / script:
        folder = Path()
    elif not (CLONE / script).is_file():
        folder = Path("/path/to/minigrad")  # the scripts are in a clone alone, and we do not know where that is
    return shlex.join([python, str(folder / script), *words])
