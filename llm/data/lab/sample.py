"""Some of many items, at random, in bounded memory: those whose keys have the smallest hashes.

Items with the same key are one group. The sample depends neither on the order of the keys nor on the machine.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from typing import Generic, TypeVar

T = TypeVar("T")


class Sample(Generic[T]):
    """At most `size` groups. Of each, the first `most` items are kept. Another seed makes another sample."""

    def __init__(self, size: int, most: int = 1, seed: int | None = None):
        self.size, self.most = size, most
        self.groups: dict[int, list[T]] = {}  # by the hashes of their keys
        self.counts: Counter[int] = Counter()
        self._largest: list[int] = []  # a heap of the hashes, negative: the largest hash comes first
        self._seed = b"" if seed is None else str(seed).encode()[:64]

    def offer(self, key: str, item: T) -> None:
        number = self._hash(key)
        if number not in self.groups:
            if len(self.groups) >= self.size and number > -self._largest[0]:
                return
            self.groups[number] = []
            heapq.heappush(self._largest, -number)
            if len(self.groups) > self.size:
                removed = -heapq.heappop(self._largest)
                del self.groups[removed], self.counts[removed]
        # A group that is there at the end has been there since its first item, so its count is right.
        self.counts[number] += 1
        if len(self.groups[number]) < self.most:
            self.groups[number].append(item)

    def _hash(self, key: str) -> int:
        content = key.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(content, digest_size=8, key=self._seed).digest(), "big")

    def items(self) -> list[T]:
        """In the order of the hashes, which is random too."""
        return [item for number in sorted(self.groups) for item in self.groups[number]]
