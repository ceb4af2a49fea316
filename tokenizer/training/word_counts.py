"""How often each word of a corpus occurs, which is all that training needs to know of it.

Two ways to the same counts:

1. `count_textbook` cuts each text into words and counts them. Any pattern.
2. `count_words` looks at all characters at once (scan.py), if the pattern is a usual one, and packs each short word
   into a number: sorting numbers brings equal words together, and no word becomes a Python object before it is
   counted. Several processes may share the work; sums do not depend on who added what.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from signal import SIG_IGN, SIGINT, signal
from typing import Protocol

import numpy as np

from tokenizer.arrays.token_bytes import HEAD, numbers
from tokenizer.arrays.word_table import MASKS
from tokenizer.split.pretokenizer import Pretokenizer, well_formed
from tokenizer.split.scanner import SCANNERS, WordScanner, chunks, in_groups, slices

# progress(stage, done, total): characters read (their total is not known: None), then merges learned.
Progress = Callable[[str, int, int | None], object]
COUNTING = "counting words"

BATCH = 1 << 20  # short words, or characters of long ones, to be counted at a time
LONGEST_PACKED = 7  # bytes; the eighth byte of the number is the length
SHORT = 500  # characters; in shorter texts a search is faster ...
FEW = 1000  # ... but if they are not ASCII it needs tables first (steady.py), in whose time so many could be scanned
SHARE = 1 << 22  # characters that are given to another process at a time


class Splitter(Protocol):
    def split(self, text: str) -> list[str]: ...


def count_textbook(texts: Iterable[str], pretokenizer: Splitter) -> dict[bytes, int]:
    """The definition: how often each word occurs in `texts`."""
    counts = Counter(word for text in texts for word in pretokenizer.split(well_formed(text)))
    return {word.encode(): count for word, count in counts.items()}


def count_words(
    texts: Iterable[str], pretokenizer: Splitter, progress: Progress | None = None, processes: int = 1
) -> dict[bytes, int]:
    """The same. `texts` is read once, and one text (with several processes, a few) is held at a time; a single text
    will do. No word reaches from one text into the next."""
    texts = reported([texts] if isinstance(texts, str) else texts, progress)
    if processes == 1:
        return dict(WordCounter(pretokenizer).add(texts))
    counts: Counter[bytes] = Counter()
    for part in count_in_processes(texts, pretokenizer, processes):
        counts.update(part)
    return dict(counts)


def reported(texts: Iterable[str], progress: Progress | None) -> Iterator[str]:
    """`texts` as they are, well-formed; after each, `progress` hears of it."""
    characters = 0
    for text in texts:
        yield well_formed(text)
        characters += len(text)
        if progress:
            progress(COUNTING, characters, None)


def count_in_processes(texts: Iterable[str], pretokenizer: Splitter, processes: int) -> Iterator[Counter[bytes]]:
    """The counts of parts of `texts`. No more parts wait than are needed to keep every process at work."""
    from concurrent.futures import ProcessPoolExecutor  # here, as it takes longer to import than all of this package

    # Ctrl-C goes to all processes of a terminal; the one that the user started answers for all of them.
    with ProcessPoolExecutor(processes, initializer=signal, initargs=(SIGINT, SIG_IGN)) as pool:
        waiting: deque = deque()
        for share in in_groups(texts, SHARE):
            waiting.append(pool.submit(count_share, share, pretokenizer))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def count_share(texts: list[str], pretokenizer: Splitter) -> Counter[bytes]:
    return WordCounter(pretokenizer).add(texts)


class WordCounter:
    """Counts words with arrays where it can."""

    def __init__(self, pretokenizer: Splitter):
        self._pretokenizer = pretokenizer
        self._scanner = None
        if isinstance(pretokenizer, Pretokenizer) and pretokenizer.expression in SCANNERS:
            self._scanner = WordScanner(pretokenizer)
        self._searched: Counter[str] = Counter()
        self._packed: Counter[int] = Counter()
        self._long: Counter[bytes] = Counter()
        self._waiting: list[np.ndarray] = []  # packed words that are not counted yet
        self._number = 0  # of them
        self._short = 0  # texts

    def add(self, texts: Iterable[str]) -> Counter[bytes]:
        """Count the words of `texts`, and return all that have been counted."""
        for text in texts:
            if self._scanner is None or self._is_searched_faster(text):
                self._searched.update(self._pretokenizer.split(text))
            else:
                for chunk in chunks(text):
                    self._scan(self._scanner, chunk)
        self._count_waiting()
        counts = self._long.copy()
        counts.update({unpack(key): count for key, count in self._packed.items()})
        counts.update({word.encode(): count for word, count in self._searched.items()})
        return counts

    def _is_searched_faster(self, text: str) -> bool:
        if len(text) >= SHORT:
            return False
        self._short += 1
        return text.isascii() or self._short > FEW

    def _scan(self, scanner: WordScanner, text: str) -> None:
        data, starts, lengths, _ = scanner.words([text])
        short = lengths <= LONGEST_PACKED
        self._waiting.append(pack(data, starts[short], lengths[short]))
        self._number += len(self._waiting[-1])
        if self._number >= BATCH:
            self._count_waiting()
        self._long.update(slices(data, starts[~short], lengths[~short]))

    def _count_waiting(self) -> None:
        if self._waiting:
            keys, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
            self._packed.update(dict(zip(keys.tolist(), counts.tolist())))
        self._waiting, self._number = [], 0


def pack(data: bytes, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The words data[start : start + length], of LONGEST_PACKED bytes at most, as numbers, (words,) uint64: their bytes
    and, as the highest byte, their length."""
    eight = numbers(np.frombuffer(data + bytes(HEAD), np.uint8))
    return eight[starts] & MASKS[0][lengths] | lengths.astype(np.uint64) << np.uint64(56)


def unpack(key: int) -> bytes:
    data = key.to_bytes(8, "little")
    return data[: data[-1]]
