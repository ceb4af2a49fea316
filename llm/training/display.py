"""What a person sees while it works: a progress bar at a terminal; elsewhere (a log file, CI) a plain line now and
then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

LINE_EVERY = 30.0  # seconds between lines where there is no terminal


def at_terminal() -> bool:
    return sys.stderr.isatty() and not os.environ.get("CI")


class Lines(tqdm):
    """A bar that writes whole lines, and few of them, instead of redrawing one."""

    def __init__(self, **settings: Any):
        settings |= {
            "mininterval": LINE_EVERY,
            "maxinterval": LINE_EVERY,
            "delay": LINE_EVERY,
            "ncols": 120,
            "ascii": True,
            "leave": False,
        }
        super().__init__(**settings)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if msg is None:  # else the bar is to be wiped out, which nobody can do to a line
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
    """Bars as a function of the stage, what is done of it and the total (None: not known); one for each stage that is
    reported.
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
