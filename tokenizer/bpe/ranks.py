"""Vocabularies without merges: OpenAI's files list tokens, and a token's place is its rank.

tiktoken joins the neighbours that make the token of the lowest rank, and so does a `bpe.RankTable`. There are merges
behind it all the same. A token is only ever made from one pair, the two that are left of it just before: whatever is
joined inside of it happens as if it stood alone, or it would not come about. So that pair is its merge, and the ranks
are the order of the merges. (A token that its own bytes do not lead to has none; it is found as a whole word only,
which is why such tokenizers ignore merges for those.) They are worked out here, for whoever wants to see or save them.
"""

from __future__ import annotations

from collections.abc import Mapping

from tokenizer.bpe.textbook import NEVER, Pair


def merges_of_ranks(rank_of: Mapping[bytes, int]) -> list[Pair]:
    """The pairs of ids that make the tokens, in the order of the ids of what they make."""
    merges = []
    for token in sorted((token for token in rank_of if len(token) > 1), key=rank_of.__getitem__):
        parts = last_parts(token, rank_of)
        if len(parts) == 2:
            merges.append((rank_of[parts[0]], rank_of[parts[1]]))
    return merges


def last_parts(token: bytes, rank_of: Mapping[bytes, int]) -> list[bytes]:
    """The two parts that are left of the bytes of `token` just before they become it; more, if they never do."""
    parts = [token[i : i + 1] for i in range(len(token))]
    ranks = [rank_of.get(left + right, NEVER) for left, right in zip(parts, parts[1:])]
    while len(parts) > 2 and (first := min(ranks)) < NEVER:
        i = ranks.index(first)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        del ranks[i]
        if i > 0:
            ranks[i - 1] = rank_of.get(parts[i - 1] + parts[i], NEVER)
        if i < len(ranks):
            ranks[i] = rank_of.get(parts[i] + parts[i + 1], NEVER)
    return parts
