"""Competitors take turns: A B A B and so on.

Other load on the machine slows all of them down alike, so a ratio within a round is more reliable than the ratio of two
times from different minutes.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.competitor import Competitor, Skipped

PAUSE = 0.1  # seconds, so that the threads of the one before have stopped spinning


class Mismatch(RuntimeError):
    """The competitors did not compute the same, so a comparison would be meaningless."""


@dataclass(frozen=True)
class Spread:
    """Median, least and largest value of the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    def to_json(self) -> dict[str, float]:
        return {"median": self.median, "min": self.least, "max": self.most}


def parse_names(text: str, known: Iterable[str], option: str) -> list[str]:
    """The names in "a,b,c". Raises ValueError if one of them is not `known`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or (unknown := [name for name in names if name not in known]):
        raise ValueError(
            f"{option} does not know {', '.join(unknown) if names else repr(text)}; choose from {', '.join(known)}"
        )
    return names


@contextmanager
def start_competitors(
    functions: Mapping[str, str], folder: Path | None, environment: Mapping[str, str]
) -> Iterator[tuple[list[Competitor], dict[str, str]]]:
    """Start processes for `functions` (name -> "module:function") with the task in `folder`, if there is one.

    Gives the competitors that are ready, and the reasons why others were skipped.
    """
    with ExitStack() as stack:
        started, skipped = [Competitor(name, function, folder, environment) for name, function in functions.items()], {}
        for each in started:
            stack.callback(each.close)
        for each in started:
            try:
                each.ready()
            except Skipped as reason:
                skipped[each.name] = str(reason)
        yield [each for each in started if each.name not in skipped], skipped


Rounds = dict[str, list[float]]  # for each competitor its measurement in each round


def check_same(competitors: Iterable[Competitor], calls: int, what: str, tolerance: float) -> dict[str, list[float]]:
    """The measurements `what` of the first calls. Raises Mismatch if those of the competitors differ."""
    values = {each.name: [result[what] for result in each.measure(calls)] for each in competitors}
    check_equal(values, what, tolerance)
    return values


def check_equal(values: Mapping[str, list[float]], what: str, tolerance: float) -> None:
    """Raise Mismatch if the values of a competitor differ from those of the first one."""
    (first, expected), *others = values.items()
    for name, found in others:
        if not all(abs(x - y) <= tolerance for x, y in zip(found, expected)):  # NaN is not close to anything
            raise Mismatch(
                f"no comparison: {what} must agree to {tolerance:g}, but {first} has "
                f"{_numbers(expected)} and {name} has {_numbers(found)}"
            )


def take_turns(
    competitors: Iterable[Competitor],
    rounds: int,
    least_seconds: float,
    measures: Iterable[str] = ("seconds",),
    *,
    show: bool = True,
) -> dict[str, Rounds]:
    """For each measure and competitor, the median of a call in each round.

    A turn has so many calls that it lasts at least `least_seconds`. Measures that a competitor does not have are left
    out.
    """
    competitors, measures = list(competitors), list(measures)
    calls = {each.name: max(1, math.ceil(least_seconds / _duration(each))) for each in competitors}
    times: dict[str, Rounds] = {measure: {} for measure in measures}
    for number in range(rounds):
        for each in competitors:
            progress(f"round {number + 1} of {rounds}: {each.name}", show=show)
            time.sleep(PAUSE)
            results = each.measure(calls[each.name], warm_up=1)
            for measure in [measure for measure in measures if measure in results[0]]:
                times[measure].setdefault(each.name, []).append(
                    statistics.median(result[measure] for result in results)
                )
    progress("", show=show)
    return times


def ratios(rounds: Rounds, ours: str) -> dict[str, Spread]:
    """The times of the others divided by those of `ours`, round by round."""
    return {
        name: Spread.of(x / y for x, y in zip(times, rounds[ours])) for name, times in rounds.items() if name != ours
    }


def ratios_of_best(rounds: Rounds, ours: str) -> dict[str, float]:
    """The same for the best round of each.

    On a busy machine this is the fairer figure, because other load slows down most what waits for all of its threads.
    """
    return {name: min(times) / min(rounds[ours]) for name, times in rounds.items() if name != ours}


def ratio_summary(rounds: Rounds) -> dict[str, dict]:
    """How the times of the others compare with ours, as plain values."""
    spreads = ratios(rounds, "ours")
    return {
        "ratio": {name: spread.median for name, spread in spreads.items()},
        "ratio_of_best": ratios_of_best(rounds, "ours"),
        "ratio_spread": {name: vars(spread) for name, spread in spreads.items()},
    }


@contextmanager
def folder_or_temporary(name: str) -> Iterator[Path]:
    """The folder of this name, made if it is not there and left as it is; or, without a name, a temporary one."""
    if name:
        Path(name).mkdir(parents=True, exist_ok=True)
        yield Path(name)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def progress(text: str, *, show: bool = True) -> None:
    """Show a line on the terminal, which the next one overwrites."""
    if show and sys.stderr.isatty():
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)


def _duration(competitor: Competitor) -> float:
    return max(1e-6, competitor.measure(1, warm_up=1)[0]["seconds"])


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{x:.6f}" for x in values)
