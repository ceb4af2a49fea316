"""Rows of tokens from examples of different lengths: one example a row, or several packed into each.

Row k has inputs and targets like those of llm/data/batches.py: targets[t] is the token after inputs[t]. A target that
is not learned is IGNORED. So is the first token of every example, because nothing stands before it.

    examples      a b c     d e             (c and e are learned)
    inputs        a b   d   0 0
    targets       - c   e   - -
    documents     0 0   1  -1-1             attention does not go from one number to another; -1 is padding

With these numbers, packed examples have the same loss and the same gradient as rows of their own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm.parallel.objective import Batch

IGNORED = -100  # `ignore_index` of GPT.loss
PADDING = -1  # the document number of what fills up a row


@dataclass(frozen=True)
class Tokens:
    """An example: its ids, and which of them are learned. Both (tokens,)."""

    ids: np.ndarray
    learned: np.ndarray

    @property
    def width(self) -> int:
        """How many inputs it has. The last token is only a target."""
        return len(self.ids) - 1

    @property
    def targets(self) -> int:
        """How many of its tokens are learned, and can be predicted."""
        return int(self.learned[1:].sum())

    def cut(self, context: int) -> Tokens:
        """Its beginning, which has at most `context` inputs."""
        return Tokens(self.ids[: context + 1], self.learned[: context + 1])


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Groups of indices of `lengths`, each with a sum of at most `capacity`: few groups, as full as possible.

    Best fit decreasing: the longest comes first, and each goes to the fullest group in which there is room for it.
    A length above `capacity` counts as `capacity`.
    """
    groups: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (what is left, number of the group), sorted
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = min(lengths[index], capacity)
        best = bisect_left(room, (length, -1))
        if best == len(room):
            groups.append([index])
            left, group = capacity - length, len(groups) - 1
        else:
            left, group = room.pop(best)
            groups[group].append(index)
            left -= length
        insort(room, (left, group))
    return groups


def row_width(row: Sequence[Tokens]) -> int:
    """How many inputs a row has that consists of these examples."""
    return sum(example.width for example in row)


def make_batch(rows: Sequence[Sequence[Tokens]]) -> Batch:
    """Inputs, targets and document numbers of rows that consist of one or more examples, all (B, T) int64.

    T is the length of the longest row.
    """
    width = max(row_width(row) for row in rows)
    inputs = np.zeros((len(rows), width), dtype=np.int64)  # (B, T)
    targets = np.full((len(rows), width), IGNORED, dtype=np.int64)  # (B, T)
    documents = np.full((len(rows), width), PADDING, dtype=np.int64)  # (B, T)
    for b, row in enumerate(rows):
        start = 0
        for number, example in enumerate(row):
            part = slice(start, start + example.width)
            inputs[b, part] = example.ids[:-1]
            targets[b, part] = np.where(example.learned[1:], example.ids[1:], IGNORED)
            documents[b, part] = number
            start += example.width
    return inputs, targets, documents
