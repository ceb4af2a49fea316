"""The same classes for regular expressions: `regex` knows its own version of Unicode, this project another, pinned one.

Where the two disagree about a character of a text, another character is put in its place before the search, one about
which they agree and which is of the class that the pinned version says. The words found are then cut from the text
itself. Such characters are rare: those that a newer Unicode has assigned.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import regex

from tokenizer.split.unicode import CASELESS, LOWER, MARK, NUMBER, SYMBOL, UPPER, class_table, code_points

PROPERTY = {
    UPPER: r"[\p{Lu}\p{Lt}]+",
    LOWER: r"\p{Ll}+",
    CASELESS: r"[\p{Lm}\p{Lo}]+",
    MARK: r"\p{M}+",
    NUMBER: r"\p{N}+",
}
# One of each class that has always been of that class; none is ASCII, which expressions may name. U+0378 is unassigned.
EXAMPLE = {UPPER: "Þ", LOWER: "ß", CASELESS: "ª", MARK: "\u0301", NUMBER: "¼", SYMBOL: "\u0378"}


@cache
def stand_ins() -> np.ndarray:
    """(0x110000,) uint32: for each code point itself or, if `regex` is of another opinion, one of the pinned class."""
    pinned = class_table()
    characters = "".join(map(chr, range(len(pinned))))
    found = np.full(len(pinned), SYMBOL, np.uint8)
    for value, expression in PROPERTY.items():
        for run in regex.finditer(expression, characters):
            found[run.start() : run.end()] = value
    table = np.arange(len(pinned), dtype=np.uint32)
    for value, example in EXAMPLE.items():
        table[(pinned == value) & (found != value)] = ord(example)
    return table


def steady(text: str) -> str:
    """A text of the same length in which `regex` sees the classes of the pinned Unicode; mostly `text` itself."""
    if text.isascii():
        return text
    codes = code_points(text)
    replaced = stand_ins().take(codes)
    if np.array_equal(replaced, codes):
        return text
    return replaced.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
