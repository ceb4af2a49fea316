"""How often each word of a corpus occurs, which is all that training needs to know about it.

The definition is a `Counter` of all words, as in bpe/textbook.py. This is faster for the named patterns: all words are
found at once (split/scanner.py), and each short word is packed into a 64-bit integer. Then the integers are sorted and
counted, and only distinct words become Python objects. Several processes can do the work together.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np

from tokenizer.arrays.ragged import slices
from tokenizer.arrays.tally import Tally
from tokenizer.arrays.token_bytes import UINT64_BYTES, uint64_at
from tokenizer.arrays.word_table import BYTE_MASKS
from tokenizer.split.chunks import CHUNK_CHARACTERS, chunks, groups_of_about
from tokenizer.split.pretokenizer import Pretokenizer, well_formed
from tokenizer.split.scanner import RULES, WordScanner
from tokenizer.text.worker import follow_parent

# progress(stage, done, total): first the characters read (the total is None, not known), then the merges learned.
Progress = Callable[[str, int, int | None], object]
COUNTING = "counting words"

BATCH_WORDS = 1 << 20  # this number of packed words is sorted and counted at a time
MAX_PACKED_BYTES = 7  # the eighth byte of the integer is the length
# The regular expression splits short texts faster than the scanner. But for texts that are not ASCII it needs tables,
# which take time to build. They are only built if there are many short texts; until then, the scanner splits these.
MIN_SCANNED_CHARACTERS = 500  # shorter texts are "short"
MIN_SHORT_TEXTS = 1000  # more short texts than this are "many"
PROCESS_CHARACTERS = 1 << 22  # another process gets about this number of characters at a time


class Splitter(Protocol):
    def split(self, text: str) -> list[str]: ...


def count_words(
    texts: Iterable[str],
    pretokenizer: Splitter,
    progress: Progress | None = None,
    processes: int = 1,
    process_characters: int = PROCESS_CHARACTERS,
) -> dict[bytes, int]:
    """How often each word occurs in `texts`: an iterable, which is read once, or a single text.

    Only one text is in memory at a time (with several processes: a few). No word continues from one text into the next.
    """
    texts = with_progress([texts] if isinstance(texts, str) else texts, progress)
    if processes == 1:
        return WordCounter(pretokenizer).add(texts)
    counts: Counter[bytes] = Counter()
    for part in count_in_processes(texts, pretokenizer, processes, process_characters):
        counts.update(part)
    return dict(counts)


def with_progress(texts: Iterable[str], progress: Progress | None) -> Iterator[str]:
    """`texts`, well-formed. `progress` is called after each of them."""
    characters = 0
    for text in texts:
        yield well_formed(text)
        characters += len(text)
        if progress:
            progress(COUNTING, characters, None)


def count_in_processes(
    texts: Iterable[str], pretokenizer: Splitter, processes: int, size: int
) -> Iterator[dict[bytes, int]]:
    """The counts of parts of `texts`. At most two parts for each process are in the queue, to save memory."""
    from concurrent.futures import ProcessPoolExecutor  # here, because its import takes longer than that of the package

    with ProcessPoolExecutor(processes, initializer=follow_parent) as pool:
        waiting: deque = deque()
        for group in groups_of_about(size, texts, len):
            waiting.append(pool.submit(count_group, group, pretokenizer))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def count_group(texts: list[str], pretokenizer: Splitter) -> dict[bytes, int]:
    return WordCounter(pretokenizer).add(texts)


class WordCounter:
    """Counts words, with arrays where it can."""

    def __init__(
        self,
        pretokenizer: Splitter,
        batch_words: int = BATCH_WORDS,
        min_scanned_characters: int = MIN_SCANNED_CHARACTERS,
        min_short_texts: int = MIN_SHORT_TEXTS,
    ):
        self._pretokenizer = pretokenizer
        self._batch_words = batch_words
        self._min_scanned_characters = min_scanned_characters
        self._min_short_texts = min_short_texts
        self._scanner = None
        if isinstance(pretokenizer, Pretokenizer) and pretokenizer.expression in RULES:
            self._scanner = WordScanner(pretokenizer)
        self._searched: Counter[str] = Counter()  # words that the regular expression has found
        self._packed = Tally()  # short words that the scanner has found
        self._long: Counter[bytes] = Counter()  # longer words that the scanner has found
        self._uncounted: list[np.ndarray] = []  # packed words
        self._uncounted_words = 0
        self._short_texts = 0

    def add(self, texts: Iterable[str]) -> dict[bytes, int]:
        """Count the words of `texts`, and return the counts of all words so far."""
        # Many small texts are scanned together: the arrays of a single one would take more time to make than to use.
        for group in groups_of_about(CHUNK_CHARACTERS, self._parts_to_scan(texts), len):
            self._scan(group)
        self._count_packed()
        counts = dict(self._long)
        keys, numbers = self._packed.total()
        for start in range(0, len(keys), self._batch_words):  # in parts: a list of int takes more memory than an array
            part = slice(start, start + self._batch_words)
            counts.update(zip(map(unpack_word, keys[part].tolist()), numbers[part].tolist()))
        for word, count in self._searched.items():
            data = word.encode()
            counts[data] = counts.get(data, 0) + count
        return counts

    def _parts_to_scan(self, texts: Iterable[str]) -> Iterator[str]:
        """Chunks of the texts that are for the scanner. The words of the others are counted here."""
        for text in texts:
            if self._scanner is None or self._is_faster_by_regex(text):
                self._searched.update(self._pretokenizer.split(text))
            else:
                yield from chunks(text)

    def _is_faster_by_regex(self, text: str) -> bool:
        if len(text) >= self._min_scanned_characters:
            return False
        self._short_texts += 1
        return text.isascii() or self._short_texts > self._min_short_texts

    def _scan(self, texts: list[str]) -> None:
        assert self._scanner is not None
        data, starts, lengths, _ = self._scanner.words(texts)
        is_short = lengths <= MAX_PACKED_BYTES
        self._uncounted.append(pack_words(data, starts[is_short], lengths[is_short]))
        self._uncounted_words += len(self._uncounted[-1])
        if self._uncounted_words >= self._batch_words:
            self._count_packed()
        self._long.update(slices(data, starts[~is_short], lengths[~is_short]))

    def _count_packed(self) -> None:
        if self._uncounted:
            self._packed.add(*np.unique(np.concatenate(self._uncounted), return_counts=True))
        self._uncounted, self._uncounted_words = [], 0


def pack_words(data: bytes, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The words data[start : start + length], of at most MAX_PACKED_BYTES bytes, as numbers, (words,) uint64: their
    bytes and, as the highest byte, their length."""
    eight = uint64_at(np.frombuffer(data + bytes(UINT64_BYTES), np.uint8))
    return eight[starts] & BYTE_MASKS[0][lengths] | lengths.astype(np.uint64) << np.uint64(56)


def unpack_word(key: int) -> bytes:
    data = key.to_bytes(8, "little")
    return data[: data[-1]]
