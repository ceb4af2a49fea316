"""Repeated n-grams of words: the plain count, and the same numbers from arrays.

Both measure characters. Gopher asks two questions:
    top         how much of the text the most frequent n-gram is, for short n-grams; spaces within it count
    repeated    how much of the text is in n-grams that occurred before, for long n-grams; spaces do not count,
                and a word counts once: after a repeated n-gram the search goes on behind it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llm.data.lab.rules.split import Words, split_words_reference, words_of

Array = NDArray[np.int64]
Recurring = tuple[Array, Array]  # where n-grams are, in order; a small number for each, equal for equal ones


def top_reference(text: str, n: int) -> int:
    """Characters of the most frequent n-gram, times how often it occurs; of equals, the first."""
    words = split_words_reference(text)
    ngrams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    if not ngrams:
        return 0
    ngram, count = Counter(ngrams).most_common(1)[0]
    return len(ngram) * count


def repeated_reference(text: str, n: int) -> int:
    """Characters in n-grams that occurred before."""
    words = split_words_reference(text)
    # Of words, not of characters: datatrove joins them, so that "a bc" and "ab c" are the same n-gram for it.
    seen: set[tuple[str, ...]] = set()
    total = i = 0
    while i + n <= len(words):
        ngram = tuple(words[i : i + n])
        if ngram in seen:
            total += sum(map(len, ngram))
            i += n
        else:
            seen.add(ngram)
            i += 1
    return total


def top(text: str, n: int) -> int:
    """`top_reference`, from arrays."""
    keys = ngrams_of(text).keys(n)
    if not len(keys):
        return 0
    most, tops = _most_frequent(np.sort(keys))
    first = 0 if most == 1 else int(np.argmax(_is_in(keys, tops)))
    starts = words_of(text).starts
    return (int(starts[first + n] - starts[first]) + n - 1) * most


def repeated(text: str, n: int) -> int:
    """`repeated_reference`, looking only at the n-grams that occur more than once. n >= 5"""
    starts = words_of(text).starts
    seen: set[int] = set()
    total = free = 0
    for position, number in _in_steps(ngrams_of(text).recurring(n)):
        if position < free:
            continue
        if number in seen:
            free = position + n
            total += int(starts[free] - starts[position])
        else:
            seen.add(number)
    return total


class NGrams:
    """The n-grams of a text as numbers: equal numbers for equal n-grams. Those of n are made of those of n - 1.

    Only the last ones are remembered, since they take more memory than the text: ask for small n first.
    """

    def __init__(self, words: Words) -> None:
        self.words, self.size = words.ranks
        self._keys = 1, self.words, self.size  # n, the numbers, their bound
        self._recurring: tuple[int, Recurring] | None = None

    def keys(self, n: int) -> Array:
        """The number of the n-gram that begins at each word. (max(N - n + 1, 0),)"""
        shorter, keys, bound = self._keys if self._keys[0] <= n else (1, self.words, self.size)
        for length in range(shorter, n):
            if bound * self.size >= 1 << 63:  # no room for another word in 64 bits: number them anew, from 0
                keys = np.unique(keys, return_inverse=True)[1]
                bound = len(keys)
            keys = keys[:-1] * self.size + self.words[length:]
            bound *= self.size
        self._keys = n, keys, bound
        return keys

    def recurring(self, n: int) -> Recurring:
        """The n-grams that occur more than once. n >= 5"""
        if self._recurring is None or self._recurring[0] > n:
            self._recurring = 5, self._recurring_fives()
        shorter, found = self._recurring
        for _ in range(shorter, n):
            found = _longer(*found)
        self._recurring = n, found
        return found

    def _recurring_fives(self) -> Recurring:
        keys = self.keys(5)
        ordered = np.sort(keys)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        positions = np.flatnonzero(_is_in(keys, twice)) if len(twice) else np.zeros(0, np.int64)
        return _more_than_once(positions, keys[positions])


@lru_cache(maxsize=1)
def _ngrams(words: Words) -> NGrams:
    return NGrams(words)


def ngrams_of(text: str) -> NGrams:
    """The n-grams of a text; those of the last text are remembered."""
    return _ngrams(words_of(text))


def _is_in(keys: Array, ordered: Array) -> NDArray[np.bool_]:
    """Whether each key is one of the sorted ones, of which there is at least one."""
    places = np.searchsorted(ordered, keys)
    places[places == len(ordered)] = 0
    return ordered[places] == keys


def _most_frequent(ordered: Array) -> tuple[int, Array]:
    """How often the most frequent of sorted numbers occurs; which numbers do, sorted."""
    changes = np.flatnonzero(ordered[1:] != ordered[:-1])
    stops = np.empty(len(changes) + 1, np.int64)  # where each row of equals ends
    stops[:-1], stops[-1] = changes + 1, len(ordered)
    counts = stops.copy()
    counts[1:] -= stops[:-1]
    most = int(counts.max())
    return most, ordered[stops[counts == most] - 1]


def _longer(positions: Array, numbers: Array) -> Recurring:
    """The recurring n-grams, of the (n - 1)-grams: one recurs only if both of the shorter ones in it do."""
    if not len(positions):
        return positions, numbers
    followed = np.flatnonzero(positions[1:] == positions[:-1] + 1)
    return _more_than_once(positions[followed], numbers[followed] * (numbers.max() + 1) + numbers[followed + 1])


def _more_than_once(positions: Array, keys: Array) -> Recurring:
    """The n-grams whose key occurs more than once, with small numbers in place of their keys."""
    if not len(keys):
        return positions, keys
    order = keys.argsort()
    ordered = keys[order]
    numbers = np.empty_like(keys)
    numbers[order[0]] = 0
    numbers[order[1:]] = (ordered[1:] != ordered[:-1]).cumsum()
    chosen = np.bincount(numbers)[numbers] > 1
    return positions[chosen], numbers[chosen]


def _in_steps(recurring: Recurring, size: int = 1 << 16) -> Iterator[tuple[int, int]]:
    """The pairs as Python's numbers, which take ten times the memory: only some at a time."""
    positions, numbers = recurring
    for start in range(0, len(positions), size):
        yield from zip(positions[start : start + size].tolist(), numbers[start : start + size].tolist())
