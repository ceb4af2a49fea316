"""A set of characters as an expression over bytes.

In UTF-8, a character of more than seven bits is two to four bytes. The first byte says how many, and has the highest
bits of the code point; each further byte has six bits, and begins with the bits 10:

    0xxxxxxx                                up to U+007F
    110xxxxx 10xxxxxx                       up to U+07FF
    1110xxxx 10xxxxxx 10xxxxxx              up to U+FFFF
    11110xxx 10xxxxxx 10xxxxxx 10xxxxxx     up to U+10FFFF

So a range of code points is a choice of sequences of ranges of bytes. For example, U+0100 to U+017F is [C4 C5][80-BF].
"""

from __future__ import annotations

from functools import lru_cache

from llm.inference.constrain.code_points import Ranges, intersection
from llm.inference.constrain.expressions import Expression, byte_set, choice, sequence

# The first and the last code point of each length, the bits of the first byte that say the length, and the number of
# bits in the further bytes.
LENGTHS = [(0, 0x7F, 0, 0), (0x80, 0x7FF, 0xC0, 6), (0x800, 0xFFFF, 0xE0, 12), (0x10000, 0x10FFFF, 0xF0, 18)]
FURTHER = 0x80


@lru_cache(maxsize=256)
def as_bytes(ranges: Ranges) -> Expression:
    """The characters of `ranges` in UTF-8."""
    lengths = []
    for first, last, marker, bits in LENGTHS:
        lengths.append(encoded(intersection(ranges, ((first, last),)), bits, marker))
    return choice(*lengths)


@lru_cache(maxsize=4096)
def encoded(ranges: Ranges, bits: int, marker: int) -> Expression:
    """Numbers as a first byte, which begins with `marker`, and further bytes for the lowest `bits` bits."""
    inside: dict[int, list[tuple[int, int]]] = {}  # first byte -> ranges of the numbers that the further bytes make
    for first, last in ranges:
        for top in range(first >> bits, (last >> bits) + 1):
            smallest, largest = top << bits, ((top + 1) << bits) - 1
            inside.setdefault(marker | top, []).append((max(first, smallest) - smallest, min(last, largest) - smallest))
    if bits == 0:
        return byte_set(sum(1 << byte for byte in inside))
    # First bytes with the same continuation are one set, so that a wide range is a short expression.
    firsts: dict[Expression, int] = {}
    for byte, rest in inside.items():
        further = encoded(tuple(rest), bits - 6, FURTHER)
        firsts[further] = firsts.get(further, 0) | 1 << byte
    return choice(*(sequence(byte_set(mask), further) for further, mask in firsts.items()))
