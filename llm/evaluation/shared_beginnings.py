"""Which texts are read together, so that a beginning that several of them share is read once.

The four endings of a question follow one context; the two sentences of a pair begin alike. Texts that begin alike are
neighbours when they are sorted. So a group takes in its next neighbour as long as that leaves fewer tokens to read:

    the cat sat | on the mat          shared: the cat sat
    the cat sat | on a mat            tails:  on the mat    on a mat    up
    the cat sat | up
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llm.inference.engine.slots import common_length

WORTH_SHARING = 8  # tokens: it takes less time to read fewer twice than to copy their keys and values
LARGEST_GROUP = 8192  # tokens of all texts of a group together: all of their keys and values are in memory


class Scored(NamedTuple):
    """A text of which the last tokens are scored."""

    number: int  # in the list of all pairs
    ids: list[int]  # what the model reads
    targets: list[int]  # what the last tokens of `ids` are to predict; each is the id that follows


@dataclass
class Group:
    """Texts that share their first `shared` tokens, which are at least one."""

    texts: list[Scored]
    shared: int

    @property
    def cached(self) -> int:
        """How many tokens of its texts have keys and values in memory; shared ones are copied to each text."""
        return sum(len(text.ids) for text in self.texts)

    @property
    def read(self) -> int:
        """How many tokens are read."""
        return self.cached - self.shared * (len(self.texts) - 1)

    @property
    def beginning(self) -> list[int]:
        return self.texts[0].ids[: self.shared]

    @property
    def tails(self) -> list[list[int]]:
        """What each text has after the beginning; of some it may be nothing."""
        return [text.ids[self.shared :] for text in self.texts]

    def saved_with(self, common: int) -> int:
        """How many fewer tokens are read if a text that begins with the first `common` tokens joins the group."""
        return common * len(self.texts) - self.shared * (len(self.texts) - 1)


def groups_of(texts: Sequence[Scored], largest: int = LARGEST_GROUP) -> list[Group]:
    """Groups of texts that begin alike, of at most `largest` tokens unless it is one text."""
    groups: list[Group] = []
    for text in sorted(texts, key=lambda text: text.ids):
        if groups:
            last = groups[-1]
            common = min(last.shared, common_length(last.texts[-1].ids, text.ids))
            if last.saved_with(common) >= WORTH_SHARING and last.cached + len(text.ids) <= largest:
                last.texts.append(text)
                last.shared = common
                continue
        groups.append(Group([text], len(text.ids)))
    return groups


def batches_of(groups: Sequence[Group], most_read: int, most_cached: int) -> Iterator[list[Group]]:
    """The groups in batches, the longest ones first. A batch of several groups has at most so many tokens."""
    batch: list[Group] = []
    for each in sorted(groups, key=lambda group: -group.read):  # of equal length: as before
        full = sum(g.read for g in [*batch, each]) > most_read or sum(g.cached for g in [*batch, each]) > most_cached
        if batch and full:
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch
