"""The third rung: no loop over words. The steps are those of the second rung, each for a whole piece of text at once.

1. coded.py, classes.py: the class of each character, from a table
2. word_starts.py, case_starts.py, scan.py: where words begin
3. word_table.py: words as numbers, and the places of their ids if they have been seen
4. mergers.py: the ids of words that have not, worked out for many words at once
5. here: the ids of all words, one after the other

Measured: 60 to 75 MB/s for text whose words are known, 23 to 33 for others, where tiktoken's Rust has 12 to 17.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from threading import Lock
from typing import NamedTuple

import numpy as np

from tokenizer.arrays.growable import GrowingIds
from tokenizer.arrays.word_table import PACKED, WordTable, pack
from tokenizer.bpe.batch import places
from tokenizer.bpe.many_words import WordMerger
from tokenizer.bpe.textbook import WordEncoder
from tokenizer.split.scanner import WordScanner, grouped, slices

CAPACITY = 1 << 18  # words
BLOCK = 64  # groups of pieces of text whose new words are merged together,
MANY = 1 << 16  # unless there are more than so many of them
LONGEST_REMEMBERED = 256  # bytes
COUNT_BITS = 32  # of a span, a number that says where in the store the ids of a word begin, and how many there are


class Group(NamedTuple):
    """Pieces of text that are looked up together: `owners` (pieces,) say which text each is of, `words` (pieces,) how
    many words it has, and `spans` (words,) where the ids of all of them are.
    """

    owners: list[int]
    spans: np.ndarray
    words: np.ndarray


class Encoded(NamedTuple):
    """What is known so far: the ids, and of each piece which text it is of and, in arrays, how many ids it has."""

    ids: GrowingIds
    owners: list[int]
    counts: list[np.ndarray]


class VectorEncoder:
    """texts -> array of ids, equal to those of `word_encoder` for the words of `scanner`.

    Words once seen are remembered with their ids. When `capacity` words are, all are forgotten and it starts afresh: a
    server that runs for years does not grow (the words of the last pieces of text are beyond that). What is remembered
    never changes an id.

    A new word is at first *pending*: it has a number i in the list of pending words, and ~i (which is negative) stands
    for its span until its ids are known."""

    def __init__(self, scanner: WordScanner, word_encoder: WordEncoder, capacity: int = CAPACITY):
        self._scanner = scanner
        self._merger = WordMerger(word_encoder)
        self._capacity = capacity
        self._table = WordTable()
        self._long: dict[bytes, int] = {}  # the spans of words that have no place in the table
        self._store = GrowingIds()  # of the remembered words
        self._pending: list[bytes] = []
        self._placed: list[
            tuple[np.ndarray, np.ndarray]
        ] = []  # places in the table, the numbers of pending words there
        self._unplaced: list[int] = []  # the numbers of those in `_long`
        self._lock = Lock()

    def encode(self, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of `texts`, one after the other, (ids,) uint32, and how many each of them has, (texts,) int64."""
        encoded = Encoded(GrowingIds(), [], [])
        waiting: list[Group] = []
        numbers = count()
        with self._lock:
            try:
                for owners, pieces in grouped(text for text, _ in zip(texts, numbers)):
                    if len(waiting) == BLOCK or len(self._pending) > MANY or self._is_full:
                        self._settle(waiting, encoded)
                        waiting = []
                    waiting.append(Group(owners, *self._look_up(pieces)))
                self._settle(waiting, encoded)
            except BaseException:  # an interrupt, maybe: leave no word behind whose ids are not known
                self._forget()
                raise
        counts = np.zeros(next(numbers), np.int64)  # the next number is how many texts there were
        np.add.at(counts, encoded.owners, np.concatenate([counts[:0], *encoded.counts]))
        return encoded.ids.finish(), counts

    @property
    def remembered(self) -> int:
        """How many words are."""
        return self._table.count + len(self._long)

    @property
    def _is_full(self) -> bool:
        return self.remembered >= self._capacity

    def _look_up(self, pieces: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """The spans of the words of some pieces of text, (words,) int64, and how many words each has, (pieces,)."""
        data, starts, lengths, counts = self._scanner.words(pieces)
        words = pack(data, starts, lengths)
        spans, unknown = self._table.find(words)
        if not len(unknown):
            return spans, counts
        is_short = lengths[unknown] <= PACKED
        short, others = unknown[is_short], unknown[~is_short]
        if len(short):
            self._reserve_places(len(short))
            place, new = self._table.insert(words.take(short))
            self._expect(place[new], slices(data, starts[short[new]], lengths[short[new]]))
            spans[short] = self._table.get(place)
            others = np.concatenate([others, short[place < 0]])
        spans[others] = [self._span_of(word) for word in slices(data, starts[others], lengths[others])]
        return spans, counts

    def _reserve_places(self, count: int) -> None:
        if self._table.reserve(count):
            places, values = self._table.negative()
            self._placed = [(places, ~values)]

    def _expect(self, place: np.ndarray, words: list[bytes]) -> None:
        """Let words that have got places in the table be pending."""
        numbers = len(self._pending) + np.arange(len(words))
        self._table.set(place, ~numbers)
        self._placed.append((place, numbers))
        self._pending += words

    def _span_of(self, word: bytes) -> int:
        """The span of a word that has no place in the table."""
        span = self._long.get(word)
        if span is None:
            span = self._long[word] = ~len(self._pending)
            self._unplaced.append(len(self._pending))
            self._pending.append(word)
        return span

    def _settle(self, waiting: list[Group], encoded: Encoded) -> None:
        """Write the ids of the groups that are `waiting`, after those of pending words are worked out."""
        if self._pending:
            learned = self._learn_pending()
            for group in waiting:
                pending = np.flatnonzero(group.spans < 0)
                group.spans[pending] = learned[~group.spans[pending]]
        for group in waiting:
            self._write(group, encoded)
        if self._is_full:
            self._forget()

    def _write(self, group: Group, encoded: Encoded) -> None:
        begins, counts = group.spans >> COUNT_BITS, group.spans & ((1 << COUNT_BITS) - 1)
        which = places(begins, counts)
        self._store.array.take(which, out=encoded.ids.extend(len(which)), mode="clip")  # "raise" would buffer it
        encoded.owners.extend(group.owners)
        encoded.counts.append(np.add.reduceat(counts, np.cumsum(group.words) - group.words))

    def _forget(self) -> None:
        self._table.clear()
        self._long.clear()
        self._store = GrowingIds()
        self._forget_pending()

    def _forget_pending(self) -> None:
        self._pending, self._placed, self._unplaced = [], [], []

    # Learning

    def _learn_pending(self) -> np.ndarray:
        """The spans of the pending words, (pending,) int64, which are now remembered. Not so the longest: their ids
        stand at the end of the store, where others will be put the next time.
        """
        pending = self._pending
        sizes = np.fromiter(map(len, pending), np.int64, len(pending))
        spans = np.empty(len(pending), np.int64)
        for which in np.flatnonzero(sizes <= LONGEST_REMEMBERED), np.flatnonzero(sizes > LONGEST_REMEMBERED):
            remembered = self._store.size
            ids, counts = self._merger.encode([pending[i] for i in which.tolist()])
            spans[which] = remembered + np.cumsum(counts) - counts << COUNT_BITS | counts
            self._store.extend(len(ids))[:] = ids
        self._store.size = remembered
        for place, numbers in self._placed:
            self._table.set(place, spans[numbers])
        for number in self._unplaced:
            if sizes[number] <= LONGEST_REMEMBERED:
                self._long[pending[number]] = int(spans[number])
            else:
                del self._long[pending[number]]
        self._forget_pending()
        return spans
