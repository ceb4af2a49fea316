"""Sets of characters, as ranges of code points, and the classes of regular expressions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

Ranges = tuple[tuple[int, int], ...]  # (first, last) code points, sorted; ranges neither overlap nor touch

LAST = 0x10FFFF
SURROGATES = (0xD800, 0xDFFF)  # not characters: UTF-8 cannot write them
EVERY_CHARACTER: Ranges = ((0, SURROGATES[0] - 1), (SURROGATES[1] + 1, LAST))
NEWLINE: Ranges = ((10, 10),)


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Any ranges, in order and joined where they overlap or touch."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)


def complement(ranges: Ranges) -> Ranges:
    """All code points that are not in `ranges`, surrogates included."""
    starts = [0, *(last + 1 for _, last in ranges)]
    ends = [*(first - 1 for first, _ in ranges), LAST]
    return tuple((start, end) for start, end in zip(starts, ends) if start <= end)


def intersection(a: Ranges, b: Ranges) -> Ranges:
    # De Morgan: what is neither outside a nor outside b.
    return complement(union([*complement(a), *complement(b)]))


def difference(a: Ranges, b: Ranges) -> Ranges:
    return intersection(a, complement(b))


def ranges_of(characters: Iterable[str]) -> Ranges:
    return union((ord(c), ord(c)) for c in characters)


@cache
def character_class(letter: str, *, in_complement: bool = False) -> Ranges:
    """The characters of `\\d`, `\\w`, `\\s`, `\\D`, `\\W` or `\\S`.

    Dialects disagree on characters beyond ASCII: for Python, `\\d` has the digits of all scripts, for JavaScript 0 to
    9. What is written here shall match in every dialect, so here such a character is neither in `\\d` nor in `\\D`.
    For the same reason, it is in both when they are in a set such as `[^\\d]`, of which the complement is taken.
    """
    if in_complement:
        return complement(character_class(letter.swapcase()))
    if letter.islower():
        return found(f"(?a:\\{letter})", 127)
    return complement(found(f"\\{letter.lower()}", LAST))


def found(pattern: str, last: int) -> Ranges:
    """The characters up to `last` that match `pattern`, by Python's tables of Unicode."""
    everything = "".join(map(chr, range(last + 1)))
    return tuple((match.start(), match.end() - 1) for match in re.finditer(f"{pattern}+", everything))
