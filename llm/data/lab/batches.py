"""Items that follow each other, in batches of bounded size: what is sent to a process, written to a file, or hashed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size: Callable[[T], int], most: int, count: int = sys.maxsize) -> Iterator[list[T]]:
    """Batches of at most `count` items whose sizes sum to at most `most`; a larger item is a batch of its own."""
    batch: list[T] = []
    total = 0
    for item in items:
        if batch and (total + size(item) > most or len(batch) >= count):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size(item)
    if batch:
        yield batch
