"""Shingles of many texts at once, as arrays of hashes: what textbook.py does, without a loop over words.

Letters in shapes: D texts, W words, S shingles. All arithmetic is in uint64, which wraps around: the remainder modulo
2^64 is what is meant.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from llm.data.lab.batches import batches
from llm.data.lab.duplicates.plan import WORD_64
from llm.data.lab.duplicates.textbook import ALONE, ORDER, PLACE, simplified, text_hash

BLOCK = 1 << 17  # characters that are hashed at once: the arrays of a block fit into the caches of a processor
SPACE, END, ZERO = 32, 10, 48  # between words; at the end of a text; a digit
DELETED = sys.maxunicode + 1
ASCII = bytes(ord(simplified(chr(byte).lower()) or " ") if byte < 128 else 0 for byte in range(256))
WHITESPACE = re.compile(r"\s")
Hashes = np.ndarray  # uint64


def shingle_blocks(texts: Sequence[str], size: int) -> Iterator[tuple[int, Hashes, np.ndarray]]:
    """The shingles of all texts, in blocks of bounded size: (number of the first text, shingles (S,), counts (D,)).

    A long text is spread over several blocks.
    """
    first = 0
    for group in batches(texts, len, BLOCK):
        if len(group[0]) > BLOCK:
            for words in windows(group[0], size):
                yield first, *runs(words, np.array([len(words)]), size)
        else:
            yield first, *runs(*word_hashes(group), size)
        first += len(group)


def windows(text: str, size: int) -> Iterator[Hashes]:
    """The hashes of the words of a long text, in pieces. Each repeats the last `size` - 1 words of the one before."""
    words, complete = np.zeros(0, np.uint64), True
    for piece in pieces(text):
        words = np.concatenate([words, hash_words([piece])[0]])
        if len(words) >= size:
            yield words
            words, complete = words[len(words) - size + 1 :], False
    if complete:  # the whole text has fewer than `size` words
        yield words if len(words) else np.array([text_hash(text)], np.uint64)


def pieces(text: str) -> Iterator[str]:
    """Pieces of a long text that end where a word does. Words of more than BLOCK characters may be cut, too."""
    start = 0
    while len(text) - start > BLOCK:
        space = WHITESPACE.search(text, start + BLOCK // 2, start + BLOCK)
        end = space.start() if space else start + BLOCK
        yield text[start:end]
        start = end
    yield text[start:]


def word_hashes(texts: Sequence[str]) -> tuple[Hashes, np.ndarray]:
    """The hashes of the words of all texts (W,), and how many words each text has (D,). A text without words is one."""
    hashes, counts = hash_words(texts)
    if not counts.all():
        without = np.flatnonzero(counts == 0)
        hashes = np.insert(hashes, np.cumsum(counts)[without], [text_hash(texts[i]) for i in without.tolist()])
        counts[without] = 1
    return hashes, counts


def hash_words(texts: Sequence[str]) -> tuple[Hashes, np.ndarray]:
    """The same; a text without words has none."""
    characters = joined([code_points(text) for text in texts])
    inside = characters > SPACE
    starts = word_starts(characters, inside)
    ends = np.flatnonzero(characters == END)
    counts = np.diff(np.searchsorted(starts, ends), prepend=0)
    # A word that starts at s: sum over its characters of c[i] p^(i - s) = p^-s * sum of c[i] p^i. Spaces add zero, so
    # the sum may go on until the next word, as that of `reduceat` does.
    up, down = powers(len(characters))
    return mixed(np.add.reduceat(characters * inside * up, starts) * down[starts]), counts


def joined(texts: list[np.ndarray]) -> np.ndarray:
    """One array of all texts, with END after each. Of each run of digits, one stays."""
    end = np.array([END], np.uint8)
    characters = np.concatenate([array for text in texts for array in (text, end)])
    digit = characters == ZERO
    again = digit[1:] & digit[:-1]
    return characters[np.concatenate([[True], ~again])] if again.any() else characters


def word_starts(characters: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Where a word begins: after a space, at a character that is a word of its own, and after one."""
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    if characters.dtype != np.uint8:
        alone = tables()[1][characters]
        begins |= alone
        begins[1:] |= inside[1:] & alone[:-1]
    return np.flatnonzero(begins)


def code_points(text: str) -> np.ndarray:
    """The characters of a text, simplified; uint8 if the text is ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode().translate(ASCII), np.uint8)
    decomposed = unicodedata.normalize("NFD", text.lower()).encode("utf-32-le", "surrogatepass")
    characters = tables()[0][np.frombuffer(decomposed, "<u4")]
    return characters[characters != DELETED]


def runs(words: Hashes, counts: np.ndarray, size: int) -> tuple[Hashes, np.ndarray]:
    """The shingles (S,) of texts that have `counts` words each, and how many shingles each text has (D,)."""
    if size > 1 and counts.min() < size:  # a text of fewer words is one shingle: zeros add nothing to its sum
        missing = np.maximum(size - counts, 0)
        words = np.insert(words, np.repeat(np.cumsum(counts), missing), np.uint64(0))
        counts = counts + missing
    starts = np.ones(len(words), bool)
    ends = np.cumsum(counts)
    for back in range(1, size):
        starts[ends - back] = False  # what starts here would end in the next text
    last = len(words) - size + 1
    sums = np.zeros(last, np.uint64)
    for i in range(size):
        sums += words[i : i + last] * np.uint64(pow(ORDER, i, WORD_64))
    return mixed(sums[starts[:last]]), counts - size + 1


def mixed(x: Hashes) -> Hashes:
    """`mix` of plan.py for an array."""
    x = (x ^ x >> np.uint64(33)) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ x >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ x >> np.uint64(33)


# --- tables, made when they are needed --------------------------------------------------------------------------------


def powers(length: int) -> tuple[Hashes, Hashes]:
    """PLACE^i and PLACE^-i modulo 2^64 for i < length."""
    up, down = _powers(max(2 * BLOCK, 1 << (length - 1).bit_length()))
    return up[:length], down[:length]


@cache
def _powers(length: int) -> tuple[Hashes, Hashes]:
    up, down = (np.full(length, factor, np.uint64) for factor in (PLACE, pow(PLACE, -1, WORD_64)))
    up[0] = down[0] = 1
    return np.multiply.accumulate(up), np.multiply.accumulate(down)


@cache
def tables() -> tuple[np.ndarray, np.ndarray]:
    """For each character of Unicode: what it becomes, and whether it is a word of its own."""
    becomes = np.arange(DELETED, dtype=np.uint32)
    # In all other planes there are letters only, and characters that are not assigned.
    for number in (*range(0x20000), *range(0xE0000, 0xE1000)):
        becomes[number] = ord(simplified(chr(number)) or chr(0)) or DELETED
    alone = np.zeros(DELETED, bool)
    alone[[match.start() for match in re.finditer(f"[{ALONE}]", "".join(map(chr, range(DELETED))))]] = True
    return becomes, alone
