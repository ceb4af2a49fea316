"""Finds the longest of some names at each position of a text, however many names there are.

A vocabulary may have thousands of added tokens (Gemma 3: 6,415), but nearly all of them begin with one of a few
characters, such as "<". So a text is searched for these characters alone, and only where a second character of a name
follows, names are looked up in a set. The cost does not depend on the number of names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

MAX_STARTS = 8  # a text is searched once for each first character; if there are more, once for all of them together


class NameSearch:
    """`names` are not empty."""

    def __init__(self, names: Iterable[str]):
        self._names = frozenset(names)
        self._lengths: dict[str, list[int]] = {}  # first two characters -> lengths of the names, the longest first
        lengths = defaultdict(set)
        seconds: defaultdict[str, set[str]] = defaultdict(set)
        for name in self._names:
            lengths[name[:2]].add(len(name))
            seconds[name[0]].add(name[1:2])
        for start in lengths:
            # A name of one character can be found wherever longer names with this first character can.
            sizes = lengths[start] | lengths.get(start[0], set())
            self._lengths[start] = sorted(sizes, reverse=True)
        starts = [start_pattern(first, after) for first, after in sorted(seconds.items())]
        self._patterns = [*map(re.compile, starts if len(starts) <= MAX_STARTS else ["|".join(starts)])]

    def find_all(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of the names in `text`, from left to right. A name never begins inside the one before it."""
        done = 0
        for start in self._candidates(text):
            if start >= done and (length := self._longest_at(text, start)):
                done = start + length
                yield start, done

    def _candidates(self, text: str) -> Collection[int]:
        """Where a name may begin, in ascending order."""
        found = [[match.start() for match in pattern.finditer(text)] for pattern in self._patterns]
        return found[0] if len(found) == 1 else sorted(position for each in found for position in each)

    def _longest_at(self, text: str, start: int) -> int:
        """The length of the longest name that begins at `start`, or 0."""
        for length in self._lengths.get(text[start : start + 2]) or self._lengths.get(text[start], []):
            name = text[start : start + length]
            if name in self._names:
                return len(name)
        return 0


def start_pattern(first: str, seconds: Collection[str]) -> str:
    """Matches the character `first` before one of the `seconds`; an empty one is for a name of one character."""
    # One literal character at the beginning: `re` finds it ten times as fast as one of several characters.
    after = "" if "" in seconds else f"(?=[{''.join(map(re.escape, sorted(seconds)))}])"
    return re.escape(first) + after
