"""The class of each character (letter, number, white space, ...), which is nearly all that the usual patterns look at.

The classes are those of one pinned version of Unicode (unicode_table.py): letters are added every year, and the ids of
a text must not depend on which version some library was compiled with. They come from a table with one byte for every
code point. Their values are chosen so that one comparison answers the questions that patterns ask: `<= MARK` means "can
be in a word of letters", `>= NEWLINE` means "is white space".

The `regex` library has a Unicode version of its own. `with_pinned_classes` makes it see the pinned one.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import regex

from tokenizer.split.unicode_table import RUNS

UPPER, LOWER, CASELESS, MARK, SYMBOL, NUMBER, NEWLINE, SPACE, BLANK = range(9)
CLASS_OF_LETTER = {"U": UPPER, "L": LOWER, "C": CASELESS, "M": MARK, "O": SYMBOL, "N": NUMBER, "S": SPACE}
EDGE = 255  # the class of what lies before and after a text

# The class that `regex` sees, and for each class one character that has always been in it. None of these characters is
# in ASCII, because expressions may name ASCII characters. U+0378 is unassigned.
PROPERTIES = {
    UPPER: r"[\p{Lu}\p{Lt}]+",
    LOWER: r"\p{Ll}+",
    CASELESS: r"[\p{Lm}\p{Lo}]+",
    MARK: r"\p{M}+",
    NUMBER: r"\p{N}+",
}
REPRESENTATIVES = {UPPER: "Þ", LOWER: "ß", CASELESS: "ª", MARK: "\u0301", NUMBER: "¼", SYMBOL: "\u0378"}


@cache
def class_table() -> np.ndarray:
    """(0x110000,) uint8: the class of each code point.

    BLANK is " " alone, NEWLINE is CR and LF, SPACE is all other white space. SYMBOL is whatever is nothing else.
    """
    runs = regex.findall(r"(\d*)(\w)", RUNS)
    values = np.array([CLASS_OF_LETTER[letter] for _, letter in runs], np.uint8)
    table = np.repeat(values, [int(count or 1) for count, _ in runs])
    table[ord(" ")] = BLANK
    table[[ord("\r"), ord("\n")]] = NEWLINE
    return table


def code_points(text: str) -> np.ndarray:
    """(n,) uint32. Any str has code points, even one with surrogates."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def with_pinned_classes(text: str) -> str:
    """A text of the same length in which `regex` sees the pinned classes; nearly always `text` itself.

    A character that `regex` puts into another class is replaced by one of the pinned class on which both agree. Such
    characters are rare: newer versions of Unicode have added them.
    """
    if text.isascii():
        return text
    codes = code_points(text)
    replaced = replacement_table().take(codes)
    if np.array_equal(replaced, codes):
        return text
    return replaced.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


@cache
def replacement_table() -> np.ndarray:
    """(0x110000,) uint32: each code point itself or, if `regex` has another class for it, the representative."""
    pinned = class_table()
    characters = "".join(map(chr, range(len(pinned))))
    seen = np.full(len(pinned), SYMBOL, np.uint8)
    for value, expression in PROPERTIES.items():
        for run in regex.finditer(expression, characters):
            seen[run.start() : run.end()] = value
    table = np.arange(len(pinned), dtype=np.uint32)
    for value, character in REPRESENTATIVES.items():
        table[(pinned == value) & (seen != value)] = ord(character)
    return table
