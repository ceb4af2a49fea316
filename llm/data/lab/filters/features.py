"""A text as a set of numbers: its n-grams of words and of characters, hashed.

The text is written in small letters, with 0 for every digit, and with one space between words and signs. So the n-grams
of "Call 07090!" are "call", "00000", "!", "call 00000", "00000 !" (words) and " c", "ca", ... "all", "ll ", "l 0" ...
(characters). Each n-gram gets a hash, and some bits of the hash are its number: a table of the n-grams is not needed,
and what was never seen in training gets a number too. Two n-grams may get the same one ("the hashing trick": Weinberger
and others, arXiv:0902.2206).

T: characters of the text; W: words; F: different numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from llm.data.permutation import mix

LONGEST = 1 << 13  # characters of a text that are looked at: its beginning tells its kind, in bounded memory
WORDS = re.compile(r"\w+|[^\w\s]")
ZEROS = str.maketrans("123456789", "0" * 9)  # one number is as good as another
NEXT = np.uint64(0x9E3779B97F4A7C15)  # an odd number, by which a hash is multiplied before the next part is added


@dataclass(frozen=True)
class Features:
    """Which n-grams are looked at, and how many numbers there are for them."""

    bits: int = 18  # of a number: there are 2**bits of them
    words: int = 2  # n-grams of 1 ... `words` words
    shortest: int = 2  # n-grams of `shortest` ... `longest` characters
    longest: int = 4

    def __call__(self, text: str) -> np.ndarray:
        """The numbers of a text, (F,) int32, sorted, each once: how often an n-gram occurs is not counted. F >= 1."""
        spaced = " ".join(WORDS.findall(text[:LONGEST].lower().translate(ZEROS)))
        points = np.frombuffer(f" {spaced} ".encode("utf-32-le", "surrogatepass"), np.uint32)  # (T,)
        codes = mix(points.astype(np.uint64))
        hashes = ngram_hashes(codes, self.longest)[self.shortest - 1 :]
        hashes += ngram_hashes(word_hashes(points, codes), self.words)
        # An n-gram of n words is another one than one of n characters: the kind is a part of what is hashed.
        kinds = [mix(each + np.uint64(kind)) >> np.uint64(64 - self.bits) for kind, each in enumerate(hashes)]
        return distinct(np.concatenate(kinds).astype(np.int32))


def word_hashes(points: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The hash of each word, (W,) uint64. `points`: the text, with a space before and after each word, (T,)."""
    borders = np.flatnonzero(points == ord(" "))
    place = np.arange(len(points)) - np.repeat(borders, np.diff(borders, append=len(points)))
    # The sum, over the letters, of a hash of (letter, place in the word): `reduceat` sums from each border to the next.
    # Not the hashes of duplicates/shingles.py, which are the textbook's: here signs are words too, accents stay, and
    # the weights in the files of filters belong to these numbers.
    letters = mix(codes + place.astype(np.uint64) * NEXT)
    return np.add.reduceat(letters[:-1], borders[:-1])


def ngram_hashes(codes: np.ndarray, longest: int) -> list[np.ndarray]:
    """The hashes of all n-grams of a sequence of hashes, (T,) uint64, for n = 1 ... longest: arrays (T - n + 1,)."""
    hashes = [codes]
    for n in range(2, longest + 1):
        # hash(c1 ... cn) = hash(c1 ... cn-1) NEXT + cn, modulo 2^64: the product wraps on purpose.
        hashes.append(hashes[-1][:-1] * NEXT + codes[n - 1 :])
    return hashes


def distinct(numbers: np.ndarray) -> np.ndarray:
    """`np.unique`, for which sorting is all of the work."""
    numbers = np.sort(numbers)
    return numbers[np.concatenate([[True], numbers[1:] != numbers[:-1]])]
