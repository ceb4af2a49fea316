"""What happens to a text: steps edit it, until one says that it is dropped. And to many texts, by several processes."""

from __future__ import annotations

import pickle
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from llm.data.documents import Document
from llm.data.lab.batches import batches
from llm.data.lab.verdict import Edited, Step, Verdict
from llm.data.lab.workers import Run
from llm.data.rows import Item

BATCH_CHARACTERS, BATCH_ITEMS = 1 << 18, 256  # of a task

T = TypeVar("T")


class Outcome(NamedTuple):
    """The text after all edits, the verdicts of all rules up to the first that dropped it, and what was edited."""

    text: str
    verdicts: list[Verdict]
    edits: dict[str, int]


def apply(steps: Sequence[Step], text: str) -> Outcome:
    """Apply the steps in order."""
    verdicts, edits = [], Counter[str]()
    for step in steps:
        result = step(text)
        if isinstance(result, Edited):
            text = result.text
            edits.update(result.counts)
        else:
            verdicts.append(result)
            if not result.kept:
                break
    else:
        if not text.strip():  # edits have removed all of it
            verdicts.append(Verdict(False, "empty", 0, 1))
    return Outcome(text, verdicts, dict(edits))


def outcomes(
    items: Iterable[tuple[T, Item]], steps: Sequence[Step], run: Run
) -> Iterator[list[tuple[T, Item, Outcome | None]]]:
    """Each item, with its place, and the outcome of its text; None for a problem. In order, a batch at a time."""
    waiting: deque[list[tuple[T, Item]]] = deque()  # batches whose texts are at work
    pickled = pickle.dumps(steps)

    def tasks() -> Iterator[tuple[bytes, list[str]]]:
        for batch in batches(items, _characters, BATCH_CHARACTERS, BATCH_ITEMS):
            waiting.append(batch)
            yield pickled, [item.text for _, item in batch if isinstance(item, Document)]

    for found in map(iter, run(apply_to_all, tasks())):
        yield [(place, item, next(found) if isinstance(item, Document) else None) for place, item in waiting.popleft()]


def _characters(item: tuple[object, Item]) -> int:
    return len(item[1].text) if isinstance(item[1], Document) else 0


def apply_to_all(steps: bytes, texts: Sequence[str]) -> list[Outcome]:
    """A task: the outcome of each text. `steps` are pickled: a process that gets the same bytes again has them."""
    return [apply(_unpickled(steps), text) for text in texts]


@lru_cache(maxsize=1)
def _unpickled(steps: bytes) -> Sequence[Step]:
    return pickle.loads(steps)
