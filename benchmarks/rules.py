"""The rules for raw text compared with datatrove's filters: megabytes a second, and whether the verdicts are the same.

    python -m benchmarks.rules FILE ...

datatrove finds words with spaCy, which it asks for: `pip install datatrove spacy`. Without them only ours are measured.
The two take turns on each document, in one process and on one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from llm.data.lab.pipeline import apply
from llm.data.lab.rules import PRESETS, Step
from llm.data.lab.rules.c4 import C4_QUALITY
from llm.data.lab.rules.fineweb import FINEWEB_QUALITY
from llm.data.names import files_of
from llm.data.problems import Problem
from llm.data.reading import read_file
from llm.data.rows import Reading

Judge = Callable[[str], str | None]  # the rule that drops a text
FILTERS = {
    "gopher_repetition": PRESETS["gopher_repetition"],
    "gopher_quality": PRESETS["gopher_quality"],
    "c4": C4_QUALITY,
    "fineweb": FINEWEB_QUALITY,
}


@dataclass(frozen=True)
class Options:
    """Measure the rules of the lab on documents, beside datatrove's filters."""

    files: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Documents in any form that `python -m llm.data` reads."""
    longest: int = 3000
    """Characters of a document: a longer one is cut into several, of a length that web pages often have."""
    documents: int = 500
    """How many documents are judged."""
    rounds: int = 3
    """How often each is judged. The median of the rounds counts."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.rules")
    texts = read_texts(options)
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts)} documents, {size:.2f} MB; MB a second of one core's time")
    for name, steps in FILTERS.items():
        judges = [lambda text, steps=steps: rule_of(steps, text), datatrove(name)]
        print(line(name, size, *measure([judge for judge in judges if judge], texts, options.rounds)))
    for name in ("gopher", "c4", "fineweb"):
        seconds, _ = measure([lambda text, steps=PRESETS[name]: rule_of(steps, text)], texts, options.rounds)
        print(f"preset {name:18s} {size / seconds[0]:7.2f}")


def read_texts(options: Options) -> list[str]:
    texts: list[str] = []
    for path in files_of(options.files):
        for item in read_file(path, Reading()):
            if not isinstance(item, Problem):
                step = options.longest
                texts += [item.text[i : i + step] for i in range(0, len(item.text), step)]
    return texts[: options.documents]


def rule_of(steps: Sequence[Step], text: str) -> str | None:
    return next((verdict.rule for verdict in apply(steps, text).verdicts if not verdict.kept), None)


def datatrove(name: str) -> Judge | None:
    """datatrove's filter of a name, if the package is installed."""
    try:
        import spacy  # noqa: F401
        from datatrove.data import Document
        from datatrove.pipeline import filters
    except ImportError:
        return None
    classes = {"gopher_repetition": "GopherRepetitionFilter", "gopher_quality": "GopherQualityFilter"}
    classes |= {"c4": "C4QualityFilter", "fineweb": "FineWebQualityFilter"}
    filter_: Any = getattr(filters, classes[name])()

    def judge(text: str) -> str | None:
        result = filter_.filter(Document(text=text, id="0"))
        return None if result is True else result[1]

    return judge


def measure(judges: Sequence[Judge], texts: Sequence[str], rounds: int) -> tuple[list[float], int]:
    """Seconds of each judge for all texts, the median of the rounds; on how many texts all judges agree."""
    seconds = [[0.0] * rounds for _ in judges]
    agreed = 0
    for number in range(rounds):
        for text in texts:
            verdicts = set()
            for judge, times in zip(judges, seconds):
                start = time.process_time()
                verdicts.add(judge(text))
                times[number] += time.process_time() - start
            agreed += len(verdicts) == 1
    return [statistics.median(times) for times in seconds], agreed // rounds


def line(name: str, size: float, seconds: Sequence[float], agreed: int) -> str:
    if len(seconds) == 1:
        return f"{name:25s} {size / seconds[0]:7.2f}"
    ours, theirs = seconds
    beside = f"datatrove {size / theirs:5.2f}  {theirs / ours:5.1f} times; {agreed} verdicts agree"
    return f"{name:25s} {size / ours:7.2f}  {beside}"


if __name__ == "__main__":
    main()
