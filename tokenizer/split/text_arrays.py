"""A text as arrays: the class of each character, what else patterns look at, and where characters are in UTF-8.

There are three kinds, which do the same in different ways: texts all of ASCII, nearly all of ASCII, and any.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tokenizer.split.unicode import class_table, code_points

FEW = 16  # a text is nearly all of ASCII if UTF-8 takes less than one byte for so many characters more
OTHER, LONG_S = 0xFE, 0xFF
EIGHT_ONES = np.uint64(0x0101010101010101)


class ASCIIText:
    """n characters. `data` is the text in UTF-8. `codes` (n,) uint8 are the characters of ASCII as they are, LONG_S for
    "ſ", which is an s where case does not matter, and for others any values between."""

    def __init__(self, data: bytes):
        self.data = data
        self.codes = np.frombuffer(data, np.uint8)

    def classes(self, view: tuple[int, ...]) -> np.ndarray:
        """(n,) uint8: view[class] of each character."""
        return np.frombuffer(bytearray(self.codes).translate(view_table(view)[1]), np.uint8)

    def bytes_before(self, places: np.ndarray) -> np.ndarray:
        """How many bytes of `data` are before each of `places`, (k,) rising characters (n is the end)."""
        return places


class MostlyASCIIText(ASCIIText):
    def __init__(self, data: bytes):
        self.data = data
        all_bytes = np.frombuffer(data, np.uint8)
        places = np.flatnonzero(all_bytes >= 0x80)
        others = all_bytes.take(places)
        self._points = code_points(others.tobytes().decode())
        self._widths = utf8_widths(self._points)
        self._places = places[others >= 0xC0] - np.cumsum(self._widths - 1, dtype=np.int64) + self._widths - 1
        self.codes = all_bytes[all_bytes & 0xC0 != 0x80]  # all but what continues a character
        self.codes[self._places[self._points == ord("ſ")]] = LONG_S

    def classes(self, view: tuple[int, ...]) -> np.ndarray:
        classes = super().classes(view)
        classes[self._places] = view_table(view)[0].take(self._points)
        return classes

    def bytes_before(self, places: np.ndarray) -> np.ndarray:
        more = np.zeros(len(places) + 1, np.int64)
        np.add.at(more, np.searchsorted(places, self._places, side="right"), self._widths - 1)
        return places + np.cumsum(more[:-1])


class AnyText(ASCIIText):
    def __init__(self, text: str, data: bytes, has_escapes: bool):
        """`has_escapes`: in `data`, single bytes stand for U+DC80 to U+DCFF."""
        self.data = data
        self._points = code_points(text)
        self._widths = utf8_widths(self._points)
        if has_escapes:
            self._widths[(self._points >= 0xDC80) & (self._points <= 0xDCFF)] = 1
        self.codes = np.minimum(self._points, OTHER).astype(np.uint8)
        self.codes[self._points == ord("ſ")] = LONG_S

    def classes(self, view: tuple[int, ...]) -> np.ndarray:
        return view_table(view)[0].take(self._points)

    def bytes_before(self, places: np.ndarray) -> np.ndarray:
        return sums_before(self._widths, places)


def code_text(text: str) -> ASCIIText:
    """Surrogate escapes (U+DC80 to U+DCFF) become the single bytes that they stand for; other surrogates have none."""
    if text.isascii():
        return ASCIIText(text.encode())
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return AnyText(text, text.encode("utf-8", "surrogateescape"), has_escapes=True)
    is_mostly_ascii = (len(data) - len(text)) * FEW < len(text)
    return MostlyASCIIText(data) if is_mostly_ascii else AnyText(text, data, has_escapes=False)


@cache
def view_table(view: tuple[int, ...]) -> tuple[np.ndarray, bytes]:
    """view[class] of each code point, and of the first 256 of them as bytes."""
    table = np.array(view, np.uint8)[class_table()]
    return table, table[:256].tobytes()


def utf8_widths(points: np.ndarray) -> np.ndarray:
    """How many bytes code points have, (n,) uint8."""
    return 1 + (points >= 0x80).view(np.uint8) + (points >= 0x800).view(np.uint8) + (points >= 0x10000).view(np.uint8)


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
