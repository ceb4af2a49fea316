"""What a person sees during the work: a progress bar at a terminal; elsewhere (a log file, CI) a line now and then."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

LINE_INTERVAL = 30.0  # seconds between lines where there is no terminal


def at_terminal() -> bool:
    return sys.stderr.isatty() and not os.environ.get("CI")


class Lines(tqdm):
    """A bar for log files. Instead of redrawing one line, it writes a new one every LINE_INTERVAL."""

    def __init__(self, **settings: Any):
        intervals = dict.fromkeys(("mininterval", "maxinterval", "delay"), LINE_INTERVAL)
        super().__init__(**settings | intervals | {"ncols": 120, "ascii": True, "leave": False})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if msg is None:  # otherwise tqdm wants to erase the bar, and a line in a file cannot be erased
            print(self, file=self.fp, flush=True)


def bar(**settings: Any) -> tqdm:
    """A progress bar; `settings` as for tqdm."""
    return tqdm(**settings, dynamic_ncols=True) if at_terminal() else Lines(**settings)


def say(text: str) -> None:
    """Print a line, above the bar if there is one."""
    if at_terminal():
        tqdm.write(text)
    else:
        print(text, flush=True)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int | None], None]]:
    """A function (stage, done, total or None if not known) that shows progress, with a bar for each stage."""
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
