"""What train.py and generate.py do as programs: standard streams that take any text, messages, and commands to copy.

Streams differ from place to place: a Windows console or `> log.txt` may have only 256 characters, a service may run
with closed streams, a disk may be full. None of this may end a program that has worked for hours.
"""

from __future__ import annotations

import errno
import io
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

# What asks a program to stop: Ctrl-C, `kill` or the end of a batch job, a terminal that is closed (not on Windows).
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk full; more than the user, or than one file, may have
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


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


def say(text: str) -> None:
    """Write a line to standard error. A program goes on if that cannot be written: it is only a message."""
    try:
        print(text, file=sys.stderr, flush=True)
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


def command_line(script: str, *words: str) -> str:
    """A command to copy, such as "python generate.py --run 'my run'", with Python and the folder that are in use."""
    python, folder = "python", Path()
    if Path(sys.argv[0]).name in ("train.py", "generate.py") and Path(sys.argv[0]).is_file():
        # As they were typed: .venv/bin/python, where no environment is active, and ../minigrad/train.py.
        python, folder = sys.orig_argv[0], Path(sys.argv[0]).parent
    return shlex.join([python, str(folder / script), *words])
