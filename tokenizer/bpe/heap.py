"""Level 2, one idea: a heap gives the next merge, and the tokens are a linked list, so that no merge moves a token.

The textbook looks at all pairs of a word for each merge. For n bytes these are n^2 steps: days for a megabyte without a
space. Here they are n log n.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from tokenizer.bpe.merge_table import NO_MERGE, NO_RANK, MergeTable, RankTable


def merge_heap(ids: Iterable[int], table: MergeTable | RankTable) -> list[int]:
    """Encode one word, given as the ids of its bytes: the same ids as `merge_table.merge_word`."""
    # An id of -1 means: no token here. The last element is always -1. It is the neighbour after the last token, and
    # because Python reads token[-1] as the last element, it is the neighbour before the first token too.
    token = [*ids, -1]
    n = len(token) - 1
    before, after = list(range(-1, n)), list(range(1, n + 2))  # for each position, those of the neighbours
    get = table.get
    ranks = [get(pair, NO_MERGE)[0] for pair in zip(token, token[1:])]
    heap = [(rank, i) for i, rank in enumerate(ranks) if rank < NO_RANK]  # of equal ranks, the leftmost comes first
    heapify(heap)

    while heap:
        rank, i = heappop(heap)
        j = after[i]
        found_rank, new_id = get((token[i], token[j]), NO_MERGE)
        # Entries are not removed from the heap when their pair changes. Out-of-date entries are skipped here.
        if found_rank != rank:
            continue
        token[i], token[j] = new_id, -1  # the new token is where the left one was
        after[i] = after[j]
        before[after[i]] = i
        for left, right in (before[i], i), (i, after[i]):  # two new pairs
            next_rank, _ = get((token[left], token[right]), NO_MERGE)
            if next_rank < NO_RANK:
                heappush(heap, (next_rank, left))
    return [t for t in token if t >= 0]
