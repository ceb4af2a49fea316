"""Words to ids by byte-pair encoding: start with single bytes, join the neighbours whose merge was learned first.

A ladder of three rungs, each equal to the one before it on every input:

1. `merge_textbook`: the definition. O(n^2) for n tokens: a megabyte without a space would take days. 2. `merge_heap`,
the same in O(n log n), and `WordEncoder`, which remembers the words it has seen, since text is the same
   words again and again.
3. vectorised.py: no loop over words at all; for long texts.

Sources: Gage 1994, "A new algorithm for data compression"; Sennrich et al. 2016, arXiv:1508.07909.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import TypeVar

Pair = tuple[int, int]
MergeTable = dict[Pair, tuple[int, int]]  # (left id, right id) -> (rank, id of the two joined); low ranks come first

Spelling = TypeVar("Spelling", bytes, str)

NEVER = sys.maxsize  # the rank of two tokens that are never joined
NO_MERGE = (NEVER, -1)
CACHE_SIZE = 1 << 17  # words
LONGEST_CACHED = 64  # characters; longer words are too rare to be worth remembering


def merge_table(
    tokens: Sequence[Spelling | None], merges: Iterable[Pair], id_of: Mapping[Spelling, int] | None = None
) -> MergeTable:
    """The table for `merges`, pairs of ids in the order of their ranks. `id_of` are the tokens that can be made (None:
    all): special ones never are, so that ordinary text cannot be encoded as one. KeyError where the two joined are
    none.
    """
    if id_of is None:
        id_of = {token: i for i, token in enumerate(tokens) if token is not None}
    return {(a, b): (rank, id_of[tokens[a] + tokens[b]]) for rank, (a, b) in enumerate(merges)}  # type: ignore[operator]


class RankTable:
    """The table of a vocabulary without merges, whose ids are ranks: any two tokens that make a third are joined
    (ranks.py). `rank_of` has the tokens that can be made, and the bytes.
    """

    def __init__(self, tokens: Sequence[bytes | None], rank_of: Mapping[bytes, int]):
        self.tokens = tokens
        self.rank_of = rank_of

    def get(self, pair: Pair, default: tuple[int, int]) -> tuple[int, int]:
        """As of a MergeTable. A negative id is no token."""
        left, right = pair
        if left < 0 or right < 0:
            return default
        rank = self.rank_of.get(self.tokens[left] + self.tokens[right])  # type: ignore[operator]  # no None among them
        return default if rank is None else (rank, rank)


def merge_textbook(ids: Iterable[int], table: MergeTable | RankTable) -> list[int]:
    """Join the neighbours of lowest rank, the leftmost where there are several, until no pair is in the table."""
    ids = list(ids)
    while found := first_merge(ids, table):
        i, _, joined = found
        ids[i : i + 2] = [joined]
    return ids


def first_merge(ids: list[int], table: MergeTable | RankTable) -> tuple[int, int, int] | None:
    """Where the neighbours that are to be joined first stand, the rank of their merge, and the id of the two joined."""
    merges = [table.get(pair, NO_MERGE) for pair in zip(ids, ids[1:])]
    rank, joined = first = min(merges, default=NO_MERGE)
    return None if first == NO_MERGE else (merges.index(first), rank, joined)


def merge_heap(ids: Iterable[int], table: MergeTable | RankTable) -> list[int]:
    """The same result. A heap offers the next (rank, place); tokens form a linked list, so that joining two of them
    moves nothing. What a merge makes obsolete stays in the heap and is recognised by its rank when it comes up."""
    token = [*ids, -1]  # the -1 at the end is also token[-1], so that the first and last token have neighbours too
    n = len(token) - 1
    before, after = list(range(-1, n)), list(range(1, n + 2))
    get = table.get
    ranks = [get(pair, NO_MERGE)[0] for pair in zip(token, token[1:])]
    heap = [(rank, i) for i, rank in enumerate(ranks) if rank < NEVER]
    heapify(heap)

    while heap:
        rank, i = heappop(heap)
        j = after[i]
        found_rank, joined = get((token[i], token[j]), NO_MERGE)
        if found_rank != rank:
            continue
        token[i], token[j] = joined, -1
        after[i] = after[j]
        before[after[i]] = i
        for left, right in (before[i], i), (i, after[i]):
            next_rank, _ = get((token[left], token[right]), NO_MERGE)
            if next_rank < NEVER:
                heappush(heap, (next_rank, left))
    return [t for t in token if t >= 0]


class WordEncoder(dict):
    """word (str) -> ids (tuple), each worked out at its first use. When `size` words are held it starts afresh, so
    that a process that runs for years does not grow; what is held never changes an id.

    A word may hold surrogate escapes (U+DC80 to U+DCFF), which stand for bytes that are not UTF-8."""

    def __init__(
        self,
        byte_ids: Sequence[int],
        table: MergeTable | RankTable,
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
