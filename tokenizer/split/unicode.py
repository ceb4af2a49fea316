"""Text as arrays: the class of each character (letter, number, white space, ...), which is all that the usual patterns
look at, apart from apostrophes and slashes.

The classes are those of a pinned version of Unicode (unicode_classes.py), looked up in a table with a byte for every
code point. Their values are chosen so that one comparison answers the questions that patterns ask: `<= MARK` is "can
be within a word of letters", `>= NEWLINE` is "is white space".
"""

from __future__ import annotations

from functools import cache

import numpy as np
import regex

from tokenizer.split.unicode_table import RUNS

UPPER, LOWER, CASELESS, MARK, SYMBOL, NUMBER, NEWLINE, SPACE, BLANK = range(9)
VALUE = {"U": UPPER, "L": LOWER, "C": CASELESS, "M": MARK, "O": SYMBOL, "N": NUMBER, "S": SPACE}
EDGE = 255  # what lies before and after the text


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
