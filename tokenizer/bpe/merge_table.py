"""Which pairs of tokens are joined, and in which order: from a list of merges, or from a list of tokens alone.

OpenAI's files have no merges. They list tokens, and the id of a token is its rank: of all neighbours that together are
a token, tiktoken joins those that make the token of the lowest rank. `RankTable` does the same.

There are merges behind such a list all the same. A token is always made from the same pair, the two tokens that are
left of its bytes just before: whatever is joined inside of it happens as if it stood alone. That pair is its merge, and
the ranks are the order of the merges. `merges_of_ranks` finds them, for showing and for saving. (A token that its own
bytes do not lead to has no merge. It is found as a whole word only, with `ignore_merges`.)
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

Pair = tuple[int, int]
MergeTable = dict[Pair, tuple[int, int]]  # (left id, right id) -> (rank, id of the new token); the lowest rank is first

NO_RANK = sys.maxsize
NO_MERGE = (NO_RANK, -1)

Spelling = TypeVar("Spelling", bytes, str)


def merge_table(
    tokens: Sequence[Spelling | None], merges: Iterable[Pair], id_of: Mapping[Spelling, int] | None = None
) -> MergeTable:
    """The table for `merges`, pairs of ids in the order of their ranks. KeyError if a merge makes no token.

    `id_of` has the tokens that may be made (None: all). Special tokens are left out of it, so that ordinary text can
    never be encoded as one.
    """
    if id_of is None:
        id_of = {token: i for i, token in enumerate(tokens) if token is not None}
    return {(a, b): (rank, id_of[tokens[a] + tokens[b]]) for rank, (a, b) in enumerate(merges)}  # type: ignore[operator]


class RankTable:
    """The merge table of a vocabulary without merges. `rank_of` has the tokens that may be made, and the bytes."""

    def __init__(self, tokens: Sequence[bytes | None], rank_of: Mapping[bytes, int]):
        self.tokens = tokens
        self.rank_of = rank_of

    def get(self, pair: Pair, default: tuple[int, int]) -> tuple[int, int]:
        """As of a MergeTable. A negative id is no token."""
        left, right = pair
        if left < 0 or right < 0:
            return default
        rank = self.rank_of.get(self.tokens[left] + self.tokens[right])  # type: ignore[operator]  # neither is None
        return default if rank is None else (rank, rank)


def merges_of_ranks(rank_of: Mapping[bytes, int]) -> list[Pair]:
    """The pairs of ids that make the tokens, in the order of the ids of what they make."""
    merges = []
    for token in sorted((token for token in rank_of if len(token) > 1), key=rank_of.__getitem__):
        parts = last_parts(token, rank_of)
        if len(parts) == 2:
            merges.append((rank_of[parts[0]], rank_of[parts[1]]))
    return merges


def last_parts(token: bytes, rank_of: Mapping[bytes, int]) -> list[bytes]:
    """The two tokens from which `token` is made. More than two if its bytes never become it."""
    parts = [token[i : i + 1] for i in range(len(token))]
    ranks = [rank_of.get(left + right, NO_RANK) for left, right in zip(parts, parts[1:])]
    while len(parts) > 2 and (lowest := min(ranks)) < NO_RANK:
        i = ranks.index(lowest)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        del ranks[i]
        if i > 0:
            ranks[i - 1] = rank_of.get(parts[i - 1] + parts[i], NO_RANK)
        if i < len(ranks):
            ranks[i] = rank_of.get(parts[i] + parts[i + 1], NO_RANK)
    return parts
