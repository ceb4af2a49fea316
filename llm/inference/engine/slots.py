"""Which text is in which slot of the cache, and what a new text can take over from the texts that are there.

Chats send their whole conversation with each message, and many requests share a long beginning, such as instructions.
The keys and values of a token depend only on the tokens up to it, so those of a common beginning are used again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

from llm.model.cache_pool import CachePool


class Slots:
    """The slots of a pool. A text keeps its slot after its end, until another text needs the slot."""

    def __init__(self, pool: CachePool, *, reuse: bool = True, virtual: Mapping[str | None, int] | None = None):
        """`reuse`: whether a text may begin with the keys and values that another one has left.

        `virtual`: how many learned tokens stand in the cache before each text of an adapter (llm/model/adapters).
        """
        self.pool, self.reuse, self.virtual = pool, reuse, virtual or {}
        self.texts: list[list[int]] = [[] for _ in pool.lengths]  # the ids whose keys and values are in each slot
        self.adapters: list[str | None] = [None] * len(self.texts)  # with which each was read
        self.free = list(range(len(self.texts)))  # the one that was given back last stands last

    def take(self, ids: Sequence[int], adapter: str | None = None, *, reuse: bool = True) -> int:
        """A free slot for a text that begins with `ids`. It may already hold a part of them, but never all.

        At least one id is left to be read, because the logits of the next token come from reading the last one.
        """
        source, length = self._longest_beginning(ids[:-1] if reuse and self.reuse else [], adapter)
        # A text is continued in its own slot, as in a chat. In other cases it stays, because it may be wanted again.
        target = source if source in self.free and length == len(self.texts[source]) else self.free[0]
        if target == source:
            self.pool.truncate(target, self._cached(source, length))
        else:
            self.pool.copy(source, target, self._cached(source, length))
        self.free.remove(target)
        self.texts[target], self.adapters[target] = list(ids[:length]), adapter
        return target

    def give_back(self, slot: int) -> None:
        self.free.append(slot)

    def truncate(self, slot: int, length: int) -> None:
        """Forget all but the first `length` tokens."""
        self.pool.truncate(slot, self._cached(slot, length))
        del self.texts[slot][length:]

    def forget_all(self) -> None:
        """All slots are empty and free."""
        self.free = list(range(len(self.texts)))
        for slot in self.free:
            self.truncate(slot, 0)

    def _longest_beginning(self, ids: Sequence[int], adapter: str | None) -> tuple[int, int]:
        """The slot whose text has the longest common beginning with `ids`, and its length; free slots first."""
        slots = dict.fromkeys([*self.free, *range(len(self.texts))])  # each once
        lengths = {slot: self._reusable_length(slot, ids, adapter) for slot in slots}
        best = max(lengths, key=lambda slot: lengths[slot])  # the first of several
        return best, lengths[best]

    def _reusable_length(self, slot: int, ids: Sequence[int], adapter: str | None) -> int:
        """How many tokens at the beginning of a slot's text are also those of `ids`, and can be used again."""
        if self.adapters[slot] != adapter:  # another model has computed the keys and values
            return 0
        length = common_length(self.texts[slot], ids)
        return length if self.pool.can_truncate(slot, self._cached(slot, length)) else 0

    def _cached(self, slot: int, length: int) -> int:
        """How much of the cache belongs to the first `length` tokens of the text in a slot."""
        return length + self.virtual.get(self.adapters[slot], 0) if length else 0


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """The length of the longest common beginning."""
    equal = takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))
    return sum(1 for _ in equal)
