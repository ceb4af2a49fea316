"""Runs of words that a test set and a training text have in common, as GPT-3's authors looked for them (appendix C).

A model that has read the questions of a test is not measured by it. A run of 13 words hardly occurs twice by chance. A
text of a test with fewer words is looked for as a whole, if it is not so short that it may stand anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llm.data.lab.duplicates.shingles import Hashes, shingle_blocks, word_hashes
from llm.data.lab.duplicates.textbook import words_of

BITS = 22  # of the table that sorts out most runs: 4 MB


@dataclass(frozen=True)
class Overlap:
    """What a document has in common with an item of a test."""

    document: int
    item: int
    runs: int  # how many runs of words
    words: str  # the longest piece of the document of which all runs are in the item


class Runs:
    """The runs of `size` words of a test set."""

    def __init__(self, texts: Sequence[str], items: Sequence[int], size: int):
        """`items`: to which item of the test each text belongs."""
        hashes, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for first, shingles, counts in shingle_blocks(texts, size):
            hashes.append(shingles)
            owners.append(np.repeat(items[first : first + len(counts)], counts))
        unique = np.unique(np.stack([np.concatenate(hashes), np.concatenate(owners).astype(np.uint64)]), axis=1)
        self.size, self.hashes, self.items = size, unique[0], unique[1].astype(np.int64)
        self.possible = np.zeros(1 << BITS, bool)  # by the first bits of a hash
        self.possible[self.hashes >> np.uint64(64 - BITS)] = True

    def find(self, shingles: Hashes) -> tuple[np.ndarray, np.ndarray]:
        """Which of the shingles are in the test, and in which items: (place, item) for each match."""
        places = np.flatnonzero(self.possible[shingles >> np.uint64(64 - BITS)])
        begin, end = (np.searchsorted(self.hashes, shingles[places], side) for side in ("left", "right"))
        counts = end - begin  # several items may have the same run
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(places, counts), self.items[np.repeat(begin, counts) + inside]


def runs_by_size(texts: Sequence[str], items: Sequence[int], words: int, shortest: int) -> list[Runs]:
    """The runs of `words` words of a test set, and the whole of its texts that have fewer, but at least `shortest`."""
    counts = word_hashes(texts)[1] if texts else np.zeros(0, np.int64)
    sizes = np.minimum(counts, words)
    chosen = {size: np.flatnonzero(sizes == size).tolist() for size in range(shortest, words + 1)}
    return [Runs([texts[i] for i in some], [items[i] for i in some], size) for size, some in chosen.items() if some]


def overlaps(documents: Sequence[str], tests: Sequence[Runs]) -> Iterator[Overlap]:
    """What each document has in common with each item, in order."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}  # document and item -> (first word, words)
    for runs in tests:
        done, before = -1, 0
        for first, shingles, counts in shingle_blocks(documents, runs.size):
            before = before if first == done else 0  # shingles of a long document in the blocks before
            ends = np.cumsum(counts)
            for place, item in zip(*(each.tolist() for each in runs.find(shingles))):
                document = int(np.searchsorted(ends, place, "right"))
                at = place - int(ends[document] - counts[document]) + before
                found.setdefault((first + document, item), []).append((at, runs.size))
            done, before = first, before + len(shingles)
    for (document, item), places in sorted(found.items()):
        words = words_of(documents[document]) or [documents[document]]
        yield Overlap(document, item, len(places), longest(words, places))


def longest(words: Sequence[str], places: Sequence[tuple[int, int]]) -> str:
    """The longest piece of a text of which all runs of words are in the test: (first word, number of words) of each."""
    best, begin, before = (0, 0), 0, -2
    for at, size in sorted(places):
        if at > before + 1:  # the run between is not in the test
            begin = at
        before = at
        best = max(best, (begin, at + size), key=lambda piece: piece[1] - piece[0])
    return " ".join(words[slice(*best)])


def texts_in(value: object) -> Iterator[str]:
    """All texts in a row of a test, whatever its shape."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from texts_in(each)
