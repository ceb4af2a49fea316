"""Contestants take turns, A B A B: whatever disturbs the machine disturbs them alike, and a ratio within a round is
worth more than two times from different minutes.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestant import Contestant, Skipped

PAUSE = 0.1  # seconds: until the threads of the last one no longer spin


class Void(RuntimeError):
    """The contestants did not compute the same, so there is nothing to compare; the message is a sentence."""


@dataclass(frozen=True)
class Spread:
    """Median, least and most of what was measured in the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    def to_json(self) -> dict[str, float]:
        return {"median": self.median, "min": self.least, "max": self.most}


def chosen(text: str, known: Iterable[str], option: str) -> list[str]:
    """The names in "a,b,c". Raises ValueError when one is not among those `known`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or (unknown := [name for name in names if name not in known]):
        raise ValueError(
            f"{option} does not know {', '.join(unknown) if names else repr(text)}; choose from {', '.join(known)}"
        )
    return names


@contextmanager
def contestants(
    functions: Mapping[str, str], folder: Path | None, environment: Mapping[str, str]
) -> Iterator[tuple[list[Contestant], dict[str, str]]]:
    """Start everybody (name -> "module:function") on the task in `folder`, if any; who takes part, and why others do
    not.
    """
    with ExitStack() as stack:
        entered, skipped = [Contestant(name, function, folder, environment) for name, function in functions.items()], {}
        for each in entered:
            stack.callback(each.close)
        for each in entered:
            try:
                each.ready()
            except Skipped as reason:
                skipped[each.name] = str(reason)
        yield [each for each in entered if each.name not in skipped], skipped


Rounds = dict[str, list[float]]  # for each contestant, what it took in each round


def check_same(contestants: Iterable[Contestant], calls: int, what: str, tolerance: float) -> dict[str, list[float]]:
    """Have everybody make the first `calls` calls; their measurements `what`. Raises Void where they are not those of
    the first one.
    """
    values = {each.name: [result[what] for result in each.turn(calls)] for each in contestants}
    check_equal(values, what, tolerance)
    return values


def check_equal(values: Mapping[str, list[float]], what: str, tolerance: float) -> None:
    """Raise Void where the values of one are not those of the first one."""
    (first, expected), *others = values.items()
    for name, found in others:
        if not all(abs(x - y) <= tolerance for x, y in zip(found, expected)):  # NaN is not close to anything
            raise Void(
                f"the comparison is void: {what} must agree to {tolerance:g}, but {first} has "
                f"{_numbers(expected)} and {name} has {_numbers(found)}"
            )


def take_turns(
    contestants: Iterable[Contestant],
    rounds: int,
    least_seconds: float,
    measures: Iterable[str] = ("seconds",),
    show: bool = True,
) -> dict[str, Rounds]:
    """For each measure, what a call took in each round: the median of its turn, which lasts at least `least_seconds`.
    Measures that a contestant does not have are left out.
    """
    contestants, measures = list(contestants), list(measures)
    calls = {each.name: max(1, math.ceil(least_seconds / _duration(each))) for each in contestants}
    times: dict[str, Rounds] = {measure: {} for measure in measures}
    for number in range(rounds):
        for each in contestants:
            progress(f"round {number + 1} of {rounds}: {each.name}", show)
            time.sleep(PAUSE)
            results = each.turn(calls[each.name], warm_up=1)
            for measure in [measure for measure in measures if measure in results[0]]:
                times[measure].setdefault(each.name, []).append(
                    statistics.median(result[measure] for result in results)
                )
    progress("", show)
    return times


def ratios(rounds: Rounds, ours: str) -> dict[str, Spread]:
    """How many times as long as `ours` the others took, round by round."""
    return {
        name: Spread.of(x / y for x, y in zip(times, rounds[ours])) for name, times in rounds.items() if name != ours
    }


def ratios_of_best(rounds: Rounds, ours: str) -> dict[str, float]:
    """The same of everybody's best round. On a busy machine the fairer figure: threads that wait for each other suffer
    most there.
    """
    return {name: min(times) / min(rounds[ours]) for name, times in rounds.items() if name != ours}


def progress(text: str, show: bool = True) -> None:
    """A line at a terminal that the next one overwrites."""
    if show and sys.stderr.isatty():
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)


def _duration(contestant: Contestant) -> float:
    return max(1e-6, contestant.turn(1, warm_up=1)[0]["seconds"])


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{x:.6f}" for x in values)
