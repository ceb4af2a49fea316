"""Finds names in a text, the longest one at each position. The time does not depend on the number of names.

A vocabulary may have thousands of added tokens (Gemma 3: 6,415), but nearly all of them begin with one of a few
characters, such as "<". So a text is searched for these first characters. Only where the second character of a name
follows, the characters from there on are looked up in the set of names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

# A text is searched once for each first character of a name. If there are more than this, it is searched once for all.
MAX_STARTS = 8


class NameSearch:
    """The names to look for. Each has at least one character."""

    def __init__(self, names: Iterable[str]):
        self._names = frozenset(names)
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        seconds: defaultdict[str, set[str]] = defaultdict(set)
        for name in self._names:
            lengths[name[:2]].add(len(name))
            seconds[name[0]].add(name[1:2])
        # The first two characters of names -> the lengths of these names, the longest first. If a name is only the
        # first of the two, it is tried too.
        self._lengths = {
            start: sorted(sizes | lengths.get(start[0], set()), reverse=True) for start, sizes in lengths.items()
        }
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
                return len(name)  # at the end of the text, this may be less than `length`
        return 0


def start_pattern(first: str, seconds: Collection[str]) -> str:
    """Matches the character `first` if one of `seconds` follows; an empty one is for a name of one character."""
    # `re` searches for one literal character ten times as fast as for one of several characters.
    after = "" if "" in seconds else f"(?=[{''.join(map(re.escape, sorted(seconds)))}])"
    return re.escape(first) + after
