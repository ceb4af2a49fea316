"""A text as words. The rules of all sources count the same words, and a text is split once for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property, lru_cache
from itertools import chain
from threading import Lock

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.int64]

# A word keeps the apostrophes and points within it (O'Neil, U.S., 3.14), but English contractions are two: do n't,
# he 's. Dashes and points in a row are one word, any other mark is a word by itself. So nearly as spaCy and NLTK.
_WORD = re.compile(
    r"\w+?(?=n['’]t\b)|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b|\w+(?:\.\w+|['’](?!(?:s|re|ve|ll|d|m)\b)\w+)*|-+|\.+|\S",
    re.IGNORECASE,
)


def split_words_reference(text: str) -> list[str]:
    """The words of a text, by one regular expression. `Words` finds the same ones, faster."""
    return _WORD.findall(text)


class _Dictionary(dict[str, tuple[int, ...]]):
    """For each stretch between white space the numbers of its words. Most stretches come again, and are split once."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._columns: dict[Callable[[str], int], tuple[Array, int]] = {}
        self._scratch = np.zeros(1 << 12, np.int64)
        self._lock = Lock()  # numbers are given by one thread at a time

    def __missing__(self, stretch: str) -> tuple[int, ...]:
        with self._lock:
            numbers = tuple(map(self._number, _WORD.findall(stretch)))
            if len(stretch) <= 64:  # a long one hardly comes again
                self[stretch] = numbers
        return numbers

    def _number(self, word: str) -> int:
        number = self._numbers.setdefault(word, len(self.names))
        if number == len(self.names):
            self.names.append(word)
        return number

    def column(self, function: Callable[[str], int]) -> Array:
        """function(word) for each word, computed once for each."""
        with self._lock:
            values, known = self._columns.get(function, (np.zeros(1 << 12, np.int64), 0))
            values = _with_room(values, len(self.names))
            values[known : len(self.names)] = [function(word) for word in self.names[known:]]
            self._columns[function] = (values, len(self.names))
        return values

    def ranks(self, numbers: Array) -> tuple[Array, int]:
        """The numbers as 0, 1, 2 ... without gaps, and how many different ones there are. No sorting is needed."""
        places = np.arange(len(numbers))
        with self._lock:
            self._scratch = scratch = _with_room(self._scratch, len(self.names))
            scratch[numbers] = places  # the last place of each
            last = np.flatnonzero(scratch[numbers] == places)
            scratch[numbers[last]] = places[: len(last)]
            return scratch[numbers], len(last)


def _with_room(values: Array, size: int) -> Array:
    """The array, or one with the same beginning and twice the room, so that it seldom grows."""
    if size <= len(values):
        return values
    larger = np.zeros(2 * size, np.int64)
    larger[: len(values)] = values
    return larger


_MOST_STRETCHES = 1 << 18  # about 60 MB
_dictionary = _Dictionary()


def _current_dictionary() -> _Dictionary:
    global _dictionary
    if len(_dictionary) + len(_dictionary.names) > _MOST_STRETCHES:
        _dictionary = _Dictionary()
    return _dictionary


class Words:
    """The words of a text, marks of punctuation included, as numbers: equal numbers for equal words."""

    def __init__(self, text: str) -> None:
        self._dictionary = _current_dictionary()
        numbers = chain.from_iterable(map(self._dictionary.__getitem__, text.split()))
        self._numbers: Array = np.fromiter(numbers, np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def strings(self) -> list[str]:
        """The words themselves."""
        return [self._dictionary.names[number] for number in self._numbers.tolist()]

    def values(self, function: Callable[[str], int]) -> Array:
        """function(word) for each word: it is called once for each different one of all texts. (N,)"""
        return self._dictionary.column(function)[self._numbers]

    @cached_property
    def starts(self) -> Array:
        """Characters of the words before each word, white space left out; the last number is their sum. (N + 1,)"""
        starts = np.zeros(len(self) + 1, np.int64)
        np.cumsum(self.values(len), out=starts[1:])
        return starts

    @cached_property
    def ranks(self) -> tuple[Array, int]:
        """The words numbered anew, without gaps; how many different ones there are."""
        return self._dictionary.ranks(self._numbers)


@lru_cache(maxsize=1)  # the rules ask for the same text one after another
def words_of(text: str) -> Words:
    """The words of a text; those of the last text are remembered."""
    return Words(text)
