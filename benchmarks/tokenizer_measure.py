"""Times of benchmarks.tokenizer as results: seconds per megabyte, in rounds, for each library."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import tokenizer_peers as peers
from benchmarks import tokenizer_texts as texts
from benchmarks.comparison import Mismatch, Rounds, Spread, ratios
from benchmarks.tokenizer_table import Result

Answers = dict[str, list[dict[str, float]]]  # for each library the measurements of its processes


def encoding_of(coder: peers.Coder, text: str) -> tuple[Callable[[], Any], float]:
    return partial(coder.encode, text), megabytes(text)


def check_ids(coders: dict[str, peers.Coder], text: str) -> None:
    """Raise Mismatch unless all give the same ids."""
    ids = {library: [int(i) for i in coder.encode(text)] for library, coder in coders.items() if library != "textbook"}
    if any(each != ids["ours"] for each in ids.values()):
        raise Mismatch(f"no comparison: {', '.join(ids)} do not give the same ids for {text[:20]!r}...")


def timed(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def megabytes(text: str) -> float:
    return len(text.encode()) / texts.MEGABYTE


def rounds_of(answers: Answers, measure: str) -> Rounds:
    return {library: [answer[measure] for answer in each] for library, each in answers.items()}


def as_result(work: str, what: str, unit: str, rounds: Rounds) -> Result:
    spreads = {library: Spread.of(values) for library, values in rounds.items()}
    return Result(work, what, unit, spreads, ratios(rounds, "ours"))


def as_speeds(work: str, what: str, rounds: Rounds) -> Result:
    """The result of `rounds`, which are seconds per megabyte."""
    speeds = {library: Spread.of(1 / x for x in values) for library, values in rounds.items()}
    return Result(work, what, "MB/s", speeds, ratios(rounds, "ours"))
