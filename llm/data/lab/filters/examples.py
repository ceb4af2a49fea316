"""Which texts a filter learns from, and which ones judge it: drawn by a hash of the text.

So the same text is never on both sides, however often it occurs, and the order of the documents does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from llm.data.documents import Document
from llm.data.errors import DataError
from llm.data.lab.filters.features import LONGEST
from llm.data.lab.sample import Sample

FEWEST = 10  # examples of each kind
PARTS = 10  # one tenth is kept to choose the threshold, another tenth to count the errors


class Example(NamedTuple):
    text: str  # the part that is looked at
    source: str
    is_good: bool


class Parts(NamedTuple):
    """Examples for three purposes. Each part has good and bad ones."""

    learn: list[Example]
    choose: list[Example]  # the threshold
    judge: list[Example]


def sample(documents: Iterable[Document], most: int, seed: int, *, is_good: bool) -> list[Example]:
    """At most `most` different texts, at random, in random order."""
    chosen = Sample[Example](most, seed=seed)
    for document in documents:
        text = document.text[:LONGEST]
        chosen.offer(text, Example(text, document.source, is_good))
    return chosen.items()


def divide(good: list[Example], bad: list[Example]) -> Parts:
    """The first tenth of each kind, in the order of `sample`, judges; the next one chooses the threshold."""
    for kind, examples in (("good", good), ("bad", bad)):
        if len(examples) < FEWEST:
            raise DataError(
                f"there are only {len(examples):,} different {kind} documents; give at least {FEWEST} of each kind "
                "(a file of plain text is one document; in JSON lines, each line is one)"
            )
    judge, choose, learn = zip(*map(_tenths, (good, bad)))
    return Parts(*(of_good + of_bad for of_good, of_bad in (learn, choose, judge)))


def _tenths(examples: list[Example]) -> tuple[list[Example], list[Example], list[Example]]:
    first, second = len(examples) // PARTS, 2 * len(examples) // PARTS
    return examples[:first], examples[first:second], examples[second:]
