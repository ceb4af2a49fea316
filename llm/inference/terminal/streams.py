"""Standard input and output of `generate.py`: the prompt, and the text that is written.

Only the text goes to standard output. Messages go to standard error.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from llm.console import escaped, say, silence
from llm.data.text import decode_prompt

INTERRUPTED = 130  # exit status of a program that Ctrl-C ended: 128 + SIGINT


def read_prompt() -> str:
    """Standard input without the line end after its last line, if it is a pipe or a file; "" if it is a terminal."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    say("reading the prompt from standard input")
    return decode_prompt(sys.stdin.buffer.read())


def has_colours() -> bool:
    """Whether standard output is a terminal that can show colours, and the user wants them (https://no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout is not None and sys.stdout.isatty() and not plain


def print_text(text: str, *, colour: str = "") -> None:
    """Write to standard output, at once. `colour`: a code of the terminal for this text (ANSI SGR).

    Raises OSError, with a sentence, when that is not possible.
    """
    text = escaped(text, sys.stdout)
    if colour:  # each line by itself: otherwise the terminal would colour the rest of the line too
        text = "\n".join(f"\x1b[{colour}m{line}\x1b[0m" if line else "" for line in text.split("\n"))
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:  # a file on a disk that is full
        silence(sys.stdout)  # otherwise Python would try again at its end, and print its own message
        raise OSError(f"the text could not be written to standard output ({error.strerror})") from None


class TokenCounter:
    """Counts generated tokens, and the seconds that they took, with those for reading what stands before them."""

    def __init__(self) -> None:
        self.tokens, self.seconds = 0, 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """The time in this block counts."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began

    def __str__(self) -> str:
        speed = self.tokens / self.seconds if self.seconds else 0
        return f"{self.tokens:,} tokens in {self.seconds:.2f} s, {speed:,.0f} tokens/s"
