"""The third rung: no loop over words. The steps are those of the second rung, each for a whole piece of text at once.

1. classes.py: the class of each character, from a table
2. word_starts.py, case_starts.py, scan.py: where words begin
3. word_table.py: words as numbers, and the places of their ids if they have been seen
4. pairs.py: the merges of all words that have not
5. here: the ids of all words, one after the other

Measured: 70 to 100 MB/s for text whose words are known, a few times the speed of tokenizers in Rust.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from .bpe import WordEncoder
from .pairs import LONGEST, BatchMerger, PairTable, places
from .scan import WordScanner, chunks
from .word_table import PACKED, WordTable

CAPACITY = 1 << 17  # words
LONGEST_REMEMBERED = 256  # bytes
FEW = 32  # words: so many are merged faster one by one
COUNT_BITS = 32  # of a span, a number that says where in the store the ids of a word begin, and how many there are


class VectorEncoder:
    """text -> array of ids, equal to those of `word_encoder` for the words of `scanner`.

    Words once seen are remembered with their ids. When `capacity` words are, all are forgotten and it starts afresh: a
    server that runs for years does not grow, and what is remembered never changes an id."""

    def __init__(self, scanner: WordScanner, word_encoder: WordEncoder, capacity: int = CAPACITY):
        self._scanner = scanner
        self._word_encoder = word_encoder
        self._merger = BatchMerger(word_encoder.byte_ids, PairTable(word_encoder.table))
        self._table = WordTable(capacity)
        self._long: dict[bytes, int] = {}  # the spans of words that have no place in the table
        self._store = np.empty(1 << 16, np.int32)  # ids; the first `_used` are those of remembered words
        self._used = 0
        self._lock = Lock()

    def encode(self, text: str) -> np.ndarray:
        """(ids,) int32."""
        with self._lock:
            ids = [self._encode_chunk(chunk) for chunk in chunks(text)]
        return np.concatenate(ids) if ids else np.empty(0, np.int32)

    def _encode_chunk(self, text: str) -> np.ndarray:
        data, edges = self._scanner.edges(text)
        try:
            spans = self._spans(data, edges[:-1], np.diff(edges))
        except BaseException:  # an interrupt, maybe: leave no word behind whose ids are not set
            self._forget()
            raise
        return self._gather(spans)

    def _spans(self, data: bytes, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Where in the store the ids of each word are, (words,) int64."""
        self._end = self._used
        words = self._table.pack(data, starts, lengths)
        values, unknown = self._table.find(words)
        spans = values.view(np.int64)
        if not len(unknown):
            return spans
        is_short = lengths[unknown] <= PACKED
        short, others = unknown[is_short], unknown[~is_short]
        other_words = slices(data, starts[others], lengths[others])
        if self._is_full(len(short) + len(set(other_words).difference(self._long))):
            self._forget()
            return self._spans(data, starts, lengths)
        if len(short):
            place, new = self._table.insert(words.take(short))
            self._table.set(place[new], self._learn(data, starts[short[new]], lengths[short[new]]).view(np.uint64))
            self._used = self._end
            spans[short] = self._table.rows[place, 3].view(np.int64)
            homeless = short[place < 0]
            others = np.concatenate([others, homeless])
            other_words += slices(data, starts[homeless], lengths[homeless])
        if len(others):
            spans[others] = self._spans_of_long(other_words)
        return spans

    @property
    def remembered(self) -> int:
        """How many words are."""
        return self._table.count + len(self._long)

    def _is_full(self, more: int) -> bool:
        """Whether so many more words are too many; never if nothing is remembered."""
        return self.remembered > 0 and self.remembered + more > self._table.capacity

    def _forget(self) -> None:
        self._table.clear()
        self._long.clear()
        self._used = 0

    def _learn(self, data: bytes, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Work out the ids of words, none longer than LONGEST, and store them: their spans, (words,) int64."""
        words = slices(data, starts, lengths)
        get = self._word_encoder.whole_words.get
        whole = np.array([get(word, -1) for word in words], np.int64)
        split = np.flatnonzero(whole < 0)
        if len(split) < FEW:
            ids, counts = self._one_by_one([words[i] for i in split.tolist()])
        else:
            ids, counts = self._merger.encode(np.frombuffer(data, np.uint8), starts[split], lengths[split])
        all_counts = np.ones(len(words), np.int64)
        all_counts[split] = counts
        begins = np.cumsum(all_counts) - all_counts
        all_ids = np.empty(all_counts.sum(), np.int64)
        all_ids[begins[whole >= 0]] = whole[whole >= 0]
        all_ids[places(begins[split], counts)] = ids
        return begins + self._append(all_ids) << COUNT_BITS | all_counts

    def _one_by_one(self, words: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        ids = [self._word_encoder.encode_word(word) for word in words]
        return np.array(sum(ids, ()), np.int64), np.array([len(i) for i in ids], np.int64)

    def _append(self, ids: np.ndarray) -> int:
        """Put `ids` into the store; where they begin."""
        begin, self._end = self._end, self._end + len(ids)
        if self._end > len(self._store):
            self._store = np.concatenate([self._store[:begin], np.empty(self._end, np.int32)])
        self._store[begin : self._end] = ids
        return begin

    def _spans_of_long(self, words: list[bytes]) -> list[int]:
        """The same for words that have no place in the table. The longest are not remembered; their ids stand at the end
        of the store until the next piece of text."""
        spans = {word: self._long.get(word) for word in words}
        unknown = sorted((word for word, span in spans.items() if span is None), key=len)
        lasting = sum(len(word) <= LONGEST_REMEMBERED for word in unknown)
        if lasting:
            learned = self._learn_long(unknown[:lasting])
            self._long |= learned
            spans |= learned
            self._used = self._end
        if unknown[lasting:]:
            spans |= self._learn_long(unknown[lasting:])
        return list(map(spans.__getitem__, words))  # type: ignore[arg-type]  # none is None any more

    def _learn_long(self, words: list[bytes]) -> dict[bytes, int]:
        """Word -> span; `words` are sorted by length."""
        medium = [word for word in words if len(word) <= LONGEST]
        lengths = np.array([len(word) for word in medium], np.int64)
        spans = self._learn(b"".join(medium), np.cumsum(lengths) - lengths, lengths).tolist()
        for word in words[len(medium) :]:
            ids = self._word_encoder.encode_word(word)
            spans.append(self._append(np.array(ids, np.int64)) << COUNT_BITS | len(ids))
        return dict(zip(words, spans))

    def _gather(self, spans: np.ndarray) -> np.ndarray:
        """The ids of all words, from their spans."""
        counts, begins = spans & ((1 << COUNT_BITS) - 1), spans >> COUNT_BITS
        return self._store[places(begins, counts)]


def slices(data: bytes, starts: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    """The words data[start : start + length]."""
    return [data[start:end] for start, end in zip(starts.tolist(), (starts + lengths).tolist())]
