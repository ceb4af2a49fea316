"""How many sentences a text has, by its marks."""

from __future__ import annotations

import re

# Marks, closing quotes and brackets, then white space or the end of the text; Chinese marks need no space behind them.
# It begins with a set of characters, which `re` finds fast; what is before comes next (at the second mark of a row
# nothing begins); ++ gives nothing back: so a row of a million marks is read once, not anew from each.
_MARK = "[.!?…।؟۔。！？]"
_END = re.compile(rf"{_MARK}(?<!{_MARK}.){_MARK}*+[\"'”’»)\]]*+(?:(?=\s)|\Z|(?<=[。！？]))")
_ABBREVIATION = re.compile(
    r"(?<![^\s(\"'“‘])(?:mr|mrs|ms|dr|prof|st|vs|etc|vol|fig|al|jr|sr|inc|ltd|co|gen|rev|col|[a-hj-z]|(?:[a-z]\.)+[a-z])\Z",
    re.IGNORECASE,
)
_LONGEST_ABBREVIATION = 8


def count_sentences(text: str) -> int:
    """How many sentences a text has. A point after Mr., e.g. or an initial ends none; the rest at the end is one."""
    count = last = 0
    for match in _END.finditer(text):
        if not _is_abbreviated(text, match):
            count += 1
            last = match.end()
    return count + bool(text[last:].strip())


def _is_abbreviated(text: str, end: re.Match[str]) -> bool:
    if end.group() != "." or end.end() == len(text):
        return False
    return _ABBREVIATION.search(text, max(end.start() - _LONGEST_ABBREVIATION, 0), end.start()) is not None
