"""Items come in groups: k questions with the same k choices, each of which is right once.

    query             choices           label
    x = 1, y = 2, x   = 1 | = 2         0
    x = 1, y = 2, y   = 1 | = 2         1

So what prefers a choice whatever the question is (a frequent word, a short text, the first place) solves exactly 1 of k
items. A score above this chance, 1 / k, shows that the question was understood.

The items of a group are not independent. Near chance, scores vary less than their intervals say.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

Row = dict[str, Any]  # {"query": ..., "choices": [...], "label": 0}, perhaps with "kind"
Group = list[Row]
T = TypeVar("T")

TRIES = 20  # for each thing that shall be different from the others; after that, there are hardly any


def questions(queries: Sequence[str], answers: Sequence[str]) -> Group:
    """Answer i is the one to query i."""
    choices = [f" {answer}" for answer in answers]
    return [{"query": query, "choices": choices, "label": i} for i, query in enumerate(queries)]


def sentences(frames: Sequence[tuple[str, str]], options: Sequence[str], kind: str) -> Group:
    """Option i fits into frame i, between its two texts; the others are wrong there.

    What is before the options is the same in all choices, so it may be the query: whole sentences differ as much.
    """
    rows = [(before, [option + after for option in options]) for before, after in frames]
    return [{"query": query, "choices": each, "label": i, "kind": kind} for i, (query, each) in enumerate(rows)]


def rows_of(draw: Callable[[], Group]) -> Iterator[Row]:
    """The rows of different groups, none of them twice. Ends when hardly any new ones are found."""
    seen: set[Hashable] = set()

    def new(group: Group) -> Hashable | None:
        return None if (names := names_of(group)) & seen or len(names) < len(group) else frozenset(names)

    while groups := distinct(draw, new, 1):
        seen |= names_of(groups[0])
        yield from groups[0]


def names_of(group: Group) -> set[Hashable]:
    """What must be different in all rows."""
    # A question with other choices is no other question. But of sentences, the choices hold the end.
    return {(row["query"], *(row["choices"] if "kind" in row else ())) for row in group}


def distinct(draw: Callable[[], T], name: Callable[[T], Hashable | None], count: int) -> list[T]:
    """`count` draws with different names, or fewer, if hardly any new ones are found. A name of None is passed over."""
    found: dict[Hashable, T] = {}
    draws = 0
    while len(found) < count and draws < TRIES * (len(found) + 1000):
        draws += 1
        each = draw()
        if (its_name := name(each)) is not None:
            found.setdefault(its_name, each)
    return list(found.values())
