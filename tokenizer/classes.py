"""Text as arrays: the class of each character (letter, number, white space, ...), which is all that the usual patterns
look at, apart from apostrophes and slashes.

The classes are those of a pinned version of Unicode (unicode_classes.py), looked up in a table with a byte for every
code point. Their values are chosen so that one comparison answers the questions that patterns ask: `<= MARK` is "can
be within a word of letters", `>= NEWLINE` is "is white space".
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import regex

from .unicode_classes import RUNS

UPPER, LOWER, CASELESS, MARK, SYMBOL, NUMBER, NEWLINE, SPACE, BLANK = range(9)
VALUE = {"U": UPPER, "L": LOWER, "C": CASELESS, "M": MARK, "O": SYMBOL, "N": NUMBER, "S": SPACE}
EDGE = 255  # what lies before and after the text
EIGHT_ONES = np.uint64(0x0101010101010101)


class CodedText(NamedTuple):
    """n characters: `codes` (n,) are their code points, `data` is the text in UTF-8, and `widths` (n,) uint8 say how many
    bytes of it each character is; None if every character is one."""

    codes: np.ndarray
    data: bytes
    widths: np.ndarray | None


@cache
def class_table() -> np.ndarray:
    """(0x110000,) uint8: the class of each code point. A symbol is whatever is nothing else; BLANK is " " alone,
    NEWLINE is CR and LF, SPACE is all other white space."""
    runs = regex.findall(r"(\d*)(\w)", RUNS)
    values = np.array([VALUE[letter] for _, letter in runs], np.uint8)
    table = np.repeat(values, [int(count or 1) for count, _ in runs])
    table[ord(" ")] = BLANK
    table[[ord("\r"), ord("\n")]] = NEWLINE
    return table


def code_points(text: str) -> np.ndarray:
    """(n,) uint32. Any str has them, surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def code_text(text: str) -> CodedText:
    """Surrogate escapes (U+DC80 to U+DCFF) become the single bytes that they stand for; other surrogates have none."""
    if text.isascii():
        data = text.encode()
        return CodedText(np.frombuffer(data, np.uint8), data, None)
    codes = code_points(text)
    widths = 1 + (codes >= 0x80).view(np.uint8) + (codes >= 0x800).view(np.uint8) + (codes >= 0x10000).view(np.uint8)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-8", "surrogateescape")
        widths[(codes >= 0xDC80) & (codes <= 0xDCFF)] = 1
    return CodedText(codes, data, widths)


def sums_before(widths: np.ndarray, places: np.ndarray) -> np.ndarray:
    """np.append(0, np.cumsum(widths))[places], a few times as fast: eight small numbers are one of 64 bits, and times
    0x0101...01 it holds, in each byte, the sum of its bytes up to there. `widths` (n,) uint8, at most 31 each."""
    n = len(widths)
    padded = np.zeros((n // 8 + 1) * 8, np.uint8)
    padded[:n] = widths
    sums = (padded.view("<u8") * EIGHT_ONES).view(np.uint8)
    eights = sums[7::8]
    before = np.cumsum(eights, dtype=np.int64) - eights
    return before.take(places >> 3) + sums.take(places) - padded.take(places)
