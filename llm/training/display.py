"""Progress: a bar at a terminal; elsewhere (a log file, CI) a line from time to time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tqdm import tqdm

from llm.console import escaped, say, silence

LOG_INTERVAL = 30.0  # seconds between lines where there is no terminal
# Without the speed in steps, which can be seen from the time left: so there is room for a bar in 80 columns.
BAR_FORMAT = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


def at_terminal() -> bool:
    """Whether standard error is a terminal that can go back to the beginning of a line."""
    return sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


class LogBar(tqdm):
    """A progress bar for log files: it cannot redraw its line, so it writes a new line every LOG_INTERVAL seconds."""

    # No thread of tqdm that draws a bar again if it was not updated for long: a file would get the same line twice.
    monitor_interval = 0

    def __init__(self, **settings: Any):
        intervals = dict.fromkeys(("mininterval", "maxinterval", "delay"), LOG_INTERVAL)
        # miniters: compare the time in each update. By default tqdm skips as many updates as took 30 seconds before.
        fixed = intervals | {"miniters": 1, "ncols": 120, "ascii": True, "leave": False}
        super().__init__(**settings | fixed)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        # tqdm calls this with an empty message to erase the bar. A line in a file cannot be erased.
        if msg is None:
            with suppress(OSError):  # the disk of the log file is full
                print(self, file=self.fp, flush=True)


def bar(**settings: Any) -> tqdm:
    """A progress bar; `settings` as for tqdm."""
    # No thread that draws bars again which are seldom updated: the tokenizer starts no processes beside another thread.
    tqdm.monitor_interval = 0
    return tqdm(**settings, dynamic_ncols=True) if at_terminal() else LogBar(**settings)


def print_line(text: str) -> None:
    """Print text above the progress bar, if there is one. A plain print() would be written into the bar.

    All that train.py has to say goes through here. If it cannot be written, training goes on without it, except where
    the program that reads it has ended (BrokenPipeError).
    """
    try:
        text = escaped(text, sys.stdout)
        if at_terminal():
            tqdm.write(text)
            sys.stdout.flush()
        else:
            print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk, a terminal that was closed
        silence(sys.stdout)
        say(f"standard output cannot be written ({error.strerror}), so nothing more will be printed; work goes on")


@contextmanager
def stages() -> Iterator[Callable[[str, int, int | None], None]]:
    """Progress bars for work in several stages, such as "counting" and "merging".

    The block gets a function `report(stage, done, total)`; `total` is None if it is not known.
    """
    # One bar after the other, on the same line: below each other, they would have to move the cursor up and down.
    current: list[tuple[str, tqdm]] = []

    def report(stage: str, done: int, total: int | None) -> None:
        if not current or current[-1][0] != stage:
            close()
            current.append((stage, bar(total=total, desc=stage, unit="", unit_scale=True, leave=False)))
        shown = current[-1][1]
        shown.update(done - shown.n)

    def close() -> None:
        while current:
            current.pop()[1].close()

    try:
        yield report
    finally:
        close()
