"""Output in a terminal: colours, progress, and bytes that cannot move the cursor or change the terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import regex

BACKGROUNDS = (194, 223, 189, 225, 159)  # pale ones of the 256 colours of terminals, for black text
BLACK = 16
PROGRESS_INTERVAL = 0.1  # seconds

NOT_PRINTABLE = regex.compile(r"[\p{C}\p{Zl}\p{Zp}]")


def wants_colour(choice: str, out: TextIO) -> bool:
    """`choice` is "always", "never", or "auto": only in a terminal, unless NO_COLOR is set (https://no-color.org)."""
    if choice != "auto":
        return choice == "always"
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, number: int) -> str:
    """`text` on a background that depends on `number`; neighbouring numbers have different backgrounds."""
    return f"\x1b[38;5;{BLACK};48;5;{BACKGROUNDS[number % len(BACKGROUNDS)]}m{text}\x1b[0m"


def printable(data: bytes) -> str:
    """`data` as text in which control characters and bytes that are not UTF-8 are escaped."""
    text = data.decode("utf-8", "backslashreplace")
    return NOT_PRINTABLE.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


class ProgressLine:
    """A line that is overwritten again and again, on `out` (None: standard error). Silent if that is not a terminal."""

    def __init__(self, out: TextIO | None = None):
        self._out = out or sys.stderr
        self._shown = 0
        self._next = 0.0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now < self._next or not self._out.isatty():
            return
        self._next = now + PROGRESS_INTERVAL
        amount = f"{done:,}" if total is None else f"{done:,} of {total:,} ({done / max(total, 1):.0%})"
        self._write(f"{stage}: {amount}")

    def clear(self) -> None:
        if self._shown:
            self._write("")

    def _write(self, line: str) -> None:
        self._out.write(f"\r{line.ljust(self._shown)}" + ("" if line else "\r"))
        self._out.flush()
        self._shown = len(line)


@contextmanager
def progress_line() -> Iterator[ProgressLine]:
    """A ProgressLine, which is cleared at the end, even after an error."""
    line = ProgressLine()
    try:
        yield line
    finally:
        line.clear()
