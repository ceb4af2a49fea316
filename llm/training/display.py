"""Progress: a bar at a terminal; elsewhere (a log file, CI) a line from time to time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

LOG_INTERVAL = 30.0  # seconds between lines where there is no terminal


def at_terminal() -> bool:
    return sys.stderr.isatty() and not os.environ.get("CI")


class LogBar(tqdm):
    """A progress bar for log files: it cannot redraw its line, so it writes a new line every LOG_INTERVAL seconds."""

    def __init__(self, **settings: Any):
        intervals = dict.fromkeys(("mininterval", "maxinterval", "delay"), LOG_INTERVAL)
        super().__init__(**settings | intervals | {"ncols": 120, "ascii": True, "leave": False})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        # tqdm calls this with an empty message to erase the bar. A line in a file cannot be erased.
        if msg is None:
            print(self, file=self.fp, flush=True)


def bar(**settings: Any) -> tqdm:
    """A progress bar; `settings` as for tqdm."""
    # No thread that redraws bars which are seldom updated: beside another thread, the tokenizer starts no processes.
    tqdm.monitor_interval = 0
    return tqdm(**settings, dynamic_ncols=True) if at_terminal() else LogBar(**settings)


def print_line(text: str) -> None:
    """Print text above the progress bar, if there is one. A plain print() would be written into the bar."""
    if at_terminal():
        tqdm.write(text)
    else:
        print(text, flush=True)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int | None], None]]:
    """Progress bars for work in several stages, such as "counting" and "merging".

    The block gets a function `report(stage, done, total)`; `total` is None if it is not known.
    """
    bars: dict[str, tqdm] = {}

    def report(stage: str, done: int, total: int | None) -> None:
        if stage not in bars:
            bars[stage] = bar(total=total, desc=stage, unit="", unit_scale=True, leave=False)
        bars[stage].update(done - bars[stage].n)

    try:
        yield report
    finally:
        for each in bars.values():
            each.close()
