"""Writes tokenizer/split/unicode_table.py: the class of each character in Unicode 16.0.

    python tools/make_unicode_classes.py

It needs Python 3.14, whose Unicode is 16.0, or any Python with `unicodedata2==16.0.0`. The version is pinned because
letters are added every year, and the ids of a text must not depend on the Unicode version of some library.
"""

from __future__ import annotations

import textwrap
from itertools import groupby
from pathlib import Path

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

VERSION = "16.0.0"  # that of tiktoken 0.14
# The classes are written as letters; `TEMPLATE` says what they mean.
LETTER_OF_CATEGORY = {"Lu": "U", "Lt": "U", "Ll": "L", "Lm": "C", "Lo": "C"}
LETTER_OF_GROUP = {"M": "M", "N": "N", "Z": "S"}  # by the first letter of the category
CONTROLS_THAT_ARE_SPACE = "\t\n\v\f\r\x85"  # with Z, these are \s: the property White_Space

TEMPLATE = '''"""The class of every code point in Unicode {version}. Written by tools/make_unicode_classes.py."""

VERSION = "{version}"

# All code points in order, as runs of one class: the length (left out if 1), then U upper or title case, L lower case,
# C letter without case, M mark, N number, S white space, O all others (including what is not assigned).
RUNS = """
{runs}
"""
'''


def class_letter(character: str) -> str:
    category = unicodedata.category(character)
    if character in CONTROLS_THAT_ARE_SPACE:
        return "S"
    return LETTER_OF_CATEGORY.get(category) or LETTER_OF_GROUP.get(category[0], "O")


def main() -> None:
    if unicodedata.unidata_version != VERSION:
        found = unicodedata.unidata_version
        raise SystemExit(f"this needs Unicode {VERSION}, not {found}: install unicodedata2=={VERSION}")
    letters = map(class_letter, map(chr, range(0x110000)))
    counts = [(len(list(run)), letter) for letter, run in groupby(letters)]
    runs = " ".join(f"{count if count > 1 else ''}{letter}" for count, letter in counts)
    text = TEMPLATE.format(version=VERSION, runs=textwrap.fill(runs, 118))
    (Path(__file__).parents[1] / "tokenizer" / "split" / "unicode_table.py").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
