"""Near duplicates in one page of sets and loops. The other files compute the same, faster; a test holds them equal.

Two texts are alike if many of their shingles, runs of five words, are the same: jaccard(a, b) = |a and b| / |a or b|.
To compare all pairs would take too long. So each text gets a signature: the least values that 112 hash functions take
on its shingles. Two signatures have the same number at a place with the probability jaccard(a, b). They are cut into 14
bands of 8 numbers, and two texts that agree in a whole band are taken for duplicates: alike texts have 14 chances.

Broder, On the resemblance and containment of documents, 1997. Leskovec, Rajaraman and Ullman, Mining of Massive
Datasets, chapter 3. Parameters and normalisation: Penedo et al., The FineWeb Datasets, 2024.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from llm.data.lab.duplicates.plan import WORD_32, WORD_64, Plan, mix

PLACE = 0xD1342543DE82EF95  # for the place of a character in a word. Odd, so it has an inverse modulo 2^64
ORDER = 0x9E3779B97F4A7C15  # for the place of a word in a shingle
# Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese. Each character is a word.
ALONE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)


def words_of(text: str) -> list[str]:
    """The words as they are compared: without capitals, accents and punctuation. A number is "0", whatever it is."""
    characters = map(simplified, unicodedata.normalize("NFD", text.lower()))  # NFD: é becomes e and an accent
    text = re.sub("0+", "0", "".join(characters))
    return re.sub(f"[{ALONE}]", r" \g<0> ", text).split()


def simplified(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Mn", "Cf"):  # accents; marks that are not seen, such as the soft hyphen
        return ""
    if category == "Nd":
        return "0"
    # Punctuation, symbols, spaces, control characters. What Unicode has not assigned yet stays, so that the result does
    # not depend on the version of Python.
    return " " if category[0] in "PSZ" or category in ("Cc", "Cs") else character


def word_hash(word: str) -> int:
    return mix(sum(ord(character) * PLACE**i for i, character in enumerate(word)) % WORD_64)


def text_hash(text: str) -> int:
    """64 bits for a whole text. Among 100 million texts, two have the same by chance with a probability of 0.0003."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def shingles(text: str, size: int) -> set[int]:
    """A hash of 64 bits for each run of `size` words. A shorter text is one shingle, so it is not forgotten."""
    # A text without words, such as "!!!", is compared as it is.
    hashes = [word_hash(word) for word in words_of(text)] or [text_hash(text)]
    runs = [hashes[i : i + size] for i in range(max(1, len(hashes) - size + 1))]
    return {mix(sum(h * ORDER**i for i, h in enumerate(run)) % WORD_64) for run in runs}


def jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b)


def signature(shingles: set[int], plan: Plan) -> list[int]:
    """The least value of each hash function. They take the upper 32 bits of a shingle, which is a hash already."""
    return [min(((x >> 32) ^ a) * b % WORD_32 for x in shingles) for a, b in plan.functions()]


def first_alike(texts: Sequence[str], plan: Plan) -> list[int]:
    """For each text the number of the first text of its cluster: its own, if there is no duplicate before it."""
    first = list(range(len(texts)))
    buckets: dict[tuple[int, ...], int] = {}  # band and its numbers -> the first text that has them
    for i, text in enumerate(texts):
        numbers = signature(shingles(text, plan.words), plan)
        for band in range(plan.bands):
            key = (band, *numbers[band * plan.rows : (band + 1) * plan.rows])
            a, b = first[i], first[buckets.setdefault(key, i)]
            # A chain A, B, C is one cluster, though A and C may be less alike.
            first = [min(a, b) if x in (a, b) else x for x in first]
    return first
