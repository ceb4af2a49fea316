"""Text that was decoded wrongly, repaired: "donâ€™t" becomes "don’t". And Unicode's normal forms.

UTF-8 bytes that were read as Latin-1 or Windows-1252 leave rows of characters that nobody writes: a letter from Â to
ô, then as many signs as that letter, as a byte, announces. Such rows are encoded back and decoded as UTF-8. One
group alone may be meant, as É” at the end of a quotation, so a doubtful one is left as it is, unless there are more
groups in its line and nothing else that is not ASCII.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Literal

from llm.data.lab.rules.steps import Change, Limit, ratio
from llm.data.lab.verdict import Edited

# What a byte 0x80-0xBF looks like: read as Windows-1252 a sign, read as Latin-1 (or where the other has none) a
# control character.
_SIGNS = {bytes([byte]).decode("cp1252", "ignore") or chr(byte): byte for byte in range(0x80, 0xC0)}
_BYTES = _SIGNS | {chr(byte): byte for byte in range(0x80, 0x100)}
_NEXT = "[" + re.escape("".join(_SIGNS)) + "\x80-\x9f]"
_FOUR = rf"[\xf0-\xf4]{_NEXT}{{3}}"
_GROUPS = re.compile(rf"[\xc2-\xdf]{_NEXT}|[\xe0-\xef]{_NEXT}{{2}}|{_FOUR}")
_ROW = re.compile(rf"(?:{_GROUPS.pattern})+")
# A group alone is clear if it is ...
_CLEAR = re.compile(
    rf"(?<=[a-zà-öø-ÿ])[\xc2-\xd6\xd8-\xde]{_NEXT}"  # within a word of small letters: cÅ“ur
    rf"|[ÂÃ](?![’”»›…–—“‘«‹]){_NEXT}|(?<![A-ZÀ-Þ])Ã{_NEXT}"  # Latin, but not before a closing mark: CAFÃ”
    rf"|â[€‚„†ˆ‰\x80\x82\x84\x86\x88\x89]{_NEXT}|ï[¬»¼½]{_NEXT}|{_FOUR}"  # â€™ â‚¬ â„¢ â†’ âˆ’, ï¬ ï»¿, emoji
)
_LOST_QUOTE = re.compile(f"â€(?!{_NEXT})")  # ”, whose last byte Windows-1252 has no sign for
_PASSES = 8  # a text that was decoded wrongly n times is about 2 ** n times as long

_LINE_END = re.compile("\r\n?")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffe\uffff]")
_REPLACEMENT = re.compile("[\ufffd\ud800-\udfff]")
_C1_CONTROL = re.compile("[\x80-\x9f]")
_WINDOWS = {chr(byte): sign for sign, byte in _SIGNS.items() if ord(sign) > 0xFF}
_ASCII_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_UNUSUAL = re.compile("[^\t\n -~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffc\U00010000-\U0010ffff]|[\xc2-\xf4]" + _NEXT)


def repair(text: str) -> Edited:
    """The text with wrongly decoded characters repaired, one kind of line ends, and no control characters.

    Control and replacement characters (U+FFFD, lone surrogates) are dropped: nothing tells what they were.
    """
    counts: Counter[str] = Counter()
    repaired = text
    for _ in range(_PASSES):
        if (_ASCII_CONTROL if repaired.isascii() else _UNUSUAL).search(repaired) is None:
            return Edited(repaired, +counts)
        before, repaired = repaired, _repair_once(repaired, counts)
        if repaired == before:
            return Edited(repaired, +counts)
    # Made to be repaired without end, so that we do only what one pass completes: to edit again changes nothing.
    counts = Counter()
    return Edited(_without_controls(text, counts), +counts)


def _repair_once(text: str, counts: Counter[str]) -> str:
    text = _without_controls(text, counts)
    decoded = "\n".join([_decode_line(line, counts) for line in text.split("\n")])
    decoded = _sub(_LOST_QUOTE, lambda match: "”", decoded, "mojibake", counts)
    if decoded != text:  # its control characters may be part of a row that was decoded wrongly twice
        return decoded
    return _sub(_C1_CONTROL, lambda match: _WINDOWS.get(match.group(), ""), text, "control", counts)


def _without_controls(text: str, counts: Counter[str]) -> str:
    if _REPLACEMENT.search(text):  # a pair of surrogates is one character, a lone one becomes U+FFFD
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = _sub(_LINE_END, lambda match: "\n", text, "line_end", counts)
    text = _sub(_CONTROL, lambda match: "", text, "control", counts)
    return _sub(_REPLACEMENT, lambda match: "", text, "replacement", counts)


def _sub(
    pattern: re.Pattern[str], new: Callable[[re.Match[str]], str], text: str, name: str, counts: Counter[str]
) -> str:
    """pattern.sub(new, text); what really changed is counted."""

    def replaced(match: re.Match[str]) -> str:
        found = new(match)
        counts[name] += found != match.group()
        return found

    return pattern.sub(replaced, text)


def _decode_line(line: str, counts: Counter[str]) -> str:
    # If several groups are all that is not ASCII, the whole line was decoded wrongly: by chance it would not fit.
    sure = not line.isascii() and len(_GROUPS.findall(line)) > 1 and _ROW.sub("", line).isascii()
    return _sub(_ROW, _decode_any if sure else _decode_clear, line, "mojibake", counts)


def _decode_clear(match: re.Match[str]) -> str:
    """The characters that a row stands for; the row itself if it is one group, and that may be meant."""
    alone = _GROUPS.fullmatch(match.group())
    return match.group() if alone and not _CLEAR.fullmatch(match.string, *match.span()) else _decode_any(match)


def _decode_any(match: re.Match[str]) -> str:
    row = match.group()
    try:
        return bytes(map(_BYTES.__getitem__, row)).decode()
    except UnicodeDecodeError:  # no shortest form, or a surrogate: it never was UTF-8
        return row


_MARKS = re.compile(r"[^\w\s\x00-\x7f]{31,}")
_MOST_MARKS = 30  # on one character: Unicode's Stream-Safe Text Format (UAX 15)


def normalize(text: str, form: Literal["NFC", "NFKC"] = "NFC") -> Edited:
    """The text in one of Unicode's normal forms: é as one character, and with NFKC also ﬁ as fi, ① as 1.

    Marks above thirty on one character are dropped: to sort them takes time that grows with the square of their number.
    """
    if text.isascii():
        return Edited(text)
    counts: Counter[str] = Counter()
    edited = _sub(_MARKS, lambda match: _at_most_thirty_marks(match.group()), text, "marks", counts)
    edited = unicodedata.normalize(form, edited)
    counts[form.lower()] += edited != text
    return Edited(edited, +counts)


def _at_most_thirty_marks(row: str) -> str:
    groups = ("".join(group) for _, group in groupby(row, key=lambda sign: unicodedata.combining(sign) > 0))
    return "".join(group[:_MOST_MARKS] if unicodedata.combining(group[0]) else group for group in groups)


def replacement_share(text: str) -> float:
    """The share of characters that stand for bytes that could not be decoded."""
    return ratio(text.count("\ufffd"), len(text))


REPLACEMENTS = Limit("replacement_characters", replacement_share, "at most", 0.01, "minigrad")
REPAIR = Change(
    "encoding",
    repair,
    "after ftfy (Speer 2019)",
    "Wrongly decoded characters are repaired, control characters dropped; counted as mojibake, control, replacement, "
    "line_end.",
)
NFC = Change("nfc", partial(normalize, form="NFC"), "Unicode Standard Annex 15", "é is written as one character.")
NFKC = Change(
    "nfkc", partial(normalize, form="NFKC"), "Unicode Standard Annex 15", "The same, and ﬁ becomes fi, ① becomes 1."
)
