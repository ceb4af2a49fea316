"""Words to ids by byte-pair encoding: start with single bytes, join the neighbours whose merge was learned first.

A ladder of three rungs, each equal to the one before it on every input:

1. `merge_textbook`: the definition. O(n^2) for n tokens: a megabyte without a space would take days.
2. `merge_heap`, the same in O(n log n), and `WordEncoder`, which remembers the words it has seen, since text is the same
   words again and again.
3. vectorised.py: no loop over words at all; for long texts.

Sources: Gage 1994, "A new algorithm for data compression"; Sennrich et al. 2016, arXiv:1508.07909.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain

Pair = tuple[int, int]
MergeTable = dict[Pair, tuple[int, int]]  # (left id, right id) -> (rank, id of the two joined); low ranks come first

NO_MERGE = (sys.maxsize, -1)
CACHE_SIZE = 1 << 17  # words
LONGEST_CACHED = 64  # characters; longer words are too rare to be worth remembering


def merge_table(tokens: Sequence[bytes], merges: Iterable[Pair], special_ids: Iterable[int] = ()) -> MergeTable:
    """The table for `merges`, pairs of ids in the order of their ranks. KeyError where no token is the two joined;
    special tokens never are, so that ordinary text cannot be encoded as one."""
    specials = set(special_ids)
    id_of = {token: i for i, token in enumerate(tokens) if i not in specials}
    return {(a, b): (rank, id_of[tokens[a] + tokens[b]]) for rank, (a, b) in enumerate(merges)}


def merge_textbook(ids: Iterable[int], table: MergeTable) -> list[int]:
    """Join the neighbours of lowest rank, the leftmost where there are several, until no pair is in the table."""
    ids = list(ids)
    while len(ids) > 1:
        pairs = list(zip(ids, ids[1:]))
        first = min(pairs, key=lambda pair: table.get(pair, NO_MERGE))
        if first not in table:
            break
        i = pairs.index(first)
        ids[i : i + 2] = [table[first][1]]
    return ids


def merge_heap(ids: Iterable[int], table: MergeTable) -> list[int]:
    """The same result. A heap offers the next (rank, place); tokens form a linked list, so that joining two of them
    moves nothing. What a merge makes obsolete stays in the heap and is recognised by its rank when it comes up."""
    token = [*ids, -1]  # the -1 at the end is also token[-1], so that the first and last token have neighbours too
    n = len(token) - 1
    before, after = list(range(-1, n)), list(range(1, n + 2))
    heap = [(table[pair][0], i) for i, pair in enumerate(zip(token, token[1:])) if pair in table]
    heapify(heap)

    while heap:
        rank, i = heappop(heap)
        j = after[i]
        found_rank, joined = table.get((token[i], token[j]), NO_MERGE)
        if found_rank != rank:
            continue
        token[i], token[j] = joined, -1
        after[i] = after[j]
        before[after[i]] = i
        for left, right in (before[i], i), (i, after[i]):
            pair = token[left], token[right]
            if pair in table:
                heappush(heap, (table[pair][0], left))
    return [t for t in token if t >= 0]


class WordEncoder(dict):
    """word (str) -> ids (tuple), each worked out at its first use. When `size` words are held it starts afresh, so
    that a process that runs for years does not grow; what is held never changes an id.

    A word may hold surrogate escapes (U+DC80 to U+DCFF), which stand for bytes that are not UTF-8."""

    def __init__(
        self,
        byte_ids: Sequence[int],
        table: MergeTable,
        size: int = CACHE_SIZE,
        whole_words: Mapping[bytes, int] | None = None,
    ):
        """`byte_ids[b]` is the id of the one-byte token b, or -1 if there is none: such bytes are left out, as Hugging
        Face's library does. A word that is a key of `whole_words` gets that id, whatever its merges would make."""
        super().__init__()
        self.byte_ids = byte_ids
        self.missing = bytes(byte for byte in range(256) if byte_ids[byte] < 0)
        self.table = table
        self.whole_words = whole_words or {}
        self.size = size

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = self.encode_word(word.encode("utf-8", "surrogateescape"))
        if len(word) <= LONGEST_CACHED:
            if len(self) >= self.size:
                self.clear()
            self[word] = ids
        return ids

    def encode_word(self, word: bytes) -> tuple[int, ...]:
        """The ids of one word, worked out afresh."""
        if word in self.whole_words:
            return (self.whole_words[word],)
        byte_ids = self.byte_ids
        return tuple(merge_heap([byte_ids[byte] for byte in word.translate(None, self.missing)], self.table))

    def encode(self, words: Iterable[str]) -> list[int]:
        """The ids of all `words`, one after the other."""
        return list(chain.from_iterable(map(self.__getitem__, words)))
