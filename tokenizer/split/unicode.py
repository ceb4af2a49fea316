"""The class of each character: letter, number, white space and so on.

The patterns that split text mostly depend on classes. Unicode adds letters every year, but the ids of a text must not
depend on the version of a library. So the classes are those of one pinned version of Unicode (unicode_table.py).

The `regex` library has its own version of Unicode. `with_pinned_classes` makes it use the pinned one.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import regex

from tokenizer.split.unicode_table import RUNS

# The order matters. One comparison answers what patterns ask: `<= CASELESS` is a letter, `<= MARK` can be in a word of
# letters, `>= NEWLINE` is white space. boundaries.py uses differences of the values too.
UPPER, LOWER, CASELESS, MARK, SYMBOL, NUMBER, NEWLINE, SPACE, BLANK = range(9)
CLASS_OF_LETTER = {"U": UPPER, "L": LOWER, "C": CASELESS, "M": MARK, "O": SYMBOL, "N": NUMBER, "S": SPACE}
EDGE = 255  # stands before and after a text

# How `regex` finds the characters of a class.
PROPERTIES = {
    UPPER: r"[\p{Lu}\p{Lt}]+",
    LOWER: r"\p{Ll}+",
    CASELESS: r"[\p{Lm}\p{Lo}]+",
    MARK: r"\p{M}+",
    NUMBER: r"\p{N}+",
}
# For each class, a character that belongs to it in every version of Unicode. It is not ASCII, because a pattern may
# name ASCII characters. U+0378 is not assigned.
REPRESENTATIVES = {UPPER: "Þ", LOWER: "ß", CASELESS: "ª", MARK: "\u0301", NUMBER: "¼", SYMBOL: "\u0378"}


@cache
def class_table() -> np.ndarray:
    """(0x110000,) uint8: the class of each code point.

    BLANK is " " alone, NEWLINE is CR and LF, SPACE is all other white space. SYMBOL is everything else.
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
    """A text of the same length in which `regex` finds the pinned classes: nearly always `text` itself.

    If `regex` has another class for a character, the character is replaced by the representative of its pinned class.
    Such characters are rare. Other versions of Unicode have added them.
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
