"""Which pairs of tokens are merged, and in which order, for the vocabularies of any library.

In the textbook, the id of a new token also says when its merge was learned. In the files of other libraries ids may be
in any order, so each merge has a *rank* too: of all pairs in a word, the one with the lowest rank is merged first.

- Most files list the merges. The rank of a merge is its position in the list (`merge_table`).
- OpenAI's files list only tokens, and the id of a token is its rank: two neighbours can be merged if their bytes, put
  together, are a token (`RankTable`). The merges can be reconstructed (`merges_of_ranks`), to show or to save them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import add
from typing import TypeVar

from tokenizer.arrays.collector import paused_garbage_collector

Pair = tuple[int, int]
MergeTable = dict[Pair, tuple[int, int]]  # (left id, right id) -> (rank, id of the new token); the lowest rank is first

NO_RANK = sys.maxsize
NO_MERGE = (NO_RANK, -1)  # the rank and the id for a pair that cannot be merged

Token = TypeVar("Token", bytes, str)


@paused_garbage_collector()
def merge_table(
    tokens: Sequence[Token | None], merges: Iterable[Pair], id_of: Mapping[Token, int] | None = None
) -> MergeTable:
    """The table of `merges`, pairs of ids in the order of their ranks. KeyError if a merge makes no token.

    `id_of` gives the ids of the tokens that merges may make (None: all tokens). Special tokens are not in it, so that
    ordinary text can never be encoded as one.
    """
    if id_of is None:
        id_of = {token: i for i, token in enumerate(tokens) if token is not None}
    merges = list(merges)
    made = map(id_of.__getitem__, joined(tokens, merges))
    return dict(zip(map(tuple, merges), enumerate(made)))  # type: ignore[arg-type]


def joined(tokens: Sequence[Token | None], merges: Iterable[Pair]) -> Iterator[Token]:
    """The tokens that `merges` make. There may be hundreds of thousands: `map` needs half the time of a loop."""
    pairs = list(chain.from_iterable(merges))
    return map(add, map(tokens.__getitem__, pairs[::2]), map(tokens.__getitem__, pairs[1::2]))


class RankTable:
    """The merge table of a vocabulary without a list of merges, with the two methods of a dict that encoding needs.

    `rank_of` contains the single bytes and all tokens that merges may make. The rank of a token is its id.
    """

    def __init__(self, tokens: Sequence[bytes | None], rank_of: Mapping[bytes, int]):
        self.tokens = tokens
        self.rank_of = rank_of

    def __len__(self) -> int:
        return len(self.rank_of)

    def get(self, pair: Pair, default: tuple[int, int]) -> tuple[int, int]:
        """(rank, id of the new token), or `default` if the pair cannot be merged."""
        left, right = pair
        if left < 0 or right < 0:  # heap.py marks the ends of a word with negative ids
            return default
        rank = self.rank_of.get(self.tokens[left] + self.tokens[right])  # type: ignore[operator]  # neither is None
        return default if rank is None else (rank, rank)


def merge_word(ids: Iterable[int], table: MergeTable | RankTable) -> list[int]:
    """Encode one word, given as the ids of its bytes: the definition for any table. Tests compare heap.py and batch.py
    with it.

    Each step makes a single merge. `TextbookBPE.encode_word` makes all merges of the same pair in one step. That gives
    the same ids for a table that was learned, in which a pair with a new token always has a higher rank than the merge
    that made the token. In other tables such a pair can have a lower rank, and must then be merged first.
    """
    ids = list(ids)
    while found := first_merge(ids, table):
        position, _, new_id = found
        ids[position : position + 2] = [new_id]
    return ids


def first_merge(ids: list[int], table: MergeTable | RankTable) -> tuple[int, int, int] | None:
    """The next merge in a word: its position, its rank and the id of the new token. None if no pair can be merged."""
    merges = [table.get(pair, NO_MERGE) for pair in zip(ids, ids[1:])]
    first = min(merges, default=NO_MERGE)
    if first == NO_MERGE:
        return None
    rank, new_id = first
    return merges.index(first), rank, new_id  # `index` finds the leftmost one


def merges_of_ranks(rank_of: Mapping[bytes, int]) -> list[Pair]:
    """The merges behind a list of tokens: one pair of ids for each token that merges can make, in the order of ids."""
    merges = []
    for token in sorted((token for token in rank_of if len(token) > 1), key=rank_of.__getitem__):
        parts = last_parts(token, rank_of)
        if len(parts) == 2:
            merges.append((rank_of[parts[0]], rank_of[parts[1]]))
    return merges


def last_parts(token: bytes, rank_of: Mapping[bytes, int]) -> list[bytes]:
    """The two tokens that are left just before `token` is made. More than two if merges never make it from its bytes.

    If `token` is made somewhere in a text, no earlier merge crossed its border: such a merge would have put some of its
    bytes into another token. So the merges inside it are the same as if it stood alone, and the last two tokens are
    found by encoding its bytes alone.
    """
    parts = [token[i : i + 1] for i in range(len(token))]
    ranks = [rank_of.get(left + right, NO_RANK) for left, right in zip(parts, parts[1:])]  # of each part and the next
    while len(parts) > 2:
        lowest = min(ranks)
        if lowest == NO_RANK:
            break  # merges cannot make it: it is used only for a word that equals it (`whole_words` of words.py)
        i = ranks.index(lowest)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        del ranks[i]
        # Only the pairs with the new part have new ranks: the pair before it and the pair after it.
        if i > 0:
            ranks[i - 1] = rank_of.get(parts[i - 1] + parts[i], NO_RANK)
        if i < len(ranks):
            ranks[i] = rank_of.get(parts[i] + parts[i + 1], NO_RANK)
    return parts
