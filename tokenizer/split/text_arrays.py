"""A text as arrays: the class and the code of each character, and the position of each character in UTF-8.

There are three representations with the same methods: for texts that are all ASCII, for texts that are mostly ASCII,
and for all other texts. `text_arrays` chooses.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tokenizer.split.unicode import class_table, code_points

MIN_ASCII_RATIO = 16  # "mostly ASCII": more than 16 characters for each byte by which UTF-8 is longer than the text
NOT_ASCII, LONG_S = 0xFE, 0xFF  # codes, see ASCIIText
EIGHT_ONES = np.uint64(0x0101010101010101)

# Most patterns do not distinguish all classes. class_map[class] is the class to use instead (scanner.py).
ClassMap = tuple[int, ...]


class ASCIIText:
    """A text of n characters that are all ASCII.

    `data` is the text in UTF-8. `codes`, (n,) uint8, are the code points of ASCII characters. In the subclasses, other
    characters have codes of 0x80 and more: LONG_S for "ſ", which is an s when case is ignored; for the rest any value.
    """

    def __init__(self, data: bytes):
        self.data = data
        self.codes = np.frombuffer(data, np.uint8)

    def classes(self, class_map: ClassMap) -> np.ndarray:
        """(n,) uint8: class_map[class] of each character."""
        return np.frombuffer(bytearray(self.codes).translate(mapped_table(class_map)[1]), np.uint8)

    def byte_offsets(self, positions: np.ndarray) -> np.ndarray:
        """The number of bytes before the characters at `positions`, (k,) in ascending order. Position n is the end."""
        return positions


class MostlyASCIIText(ASCIIText):
    def __init__(self, data: bytes):
        self.data = data
        all_bytes = np.frombuffer(data, np.uint8)
        positions = np.flatnonzero(all_bytes >= 0x80)
        others = all_bytes.take(positions)
        self._points = code_points(others.tobytes().decode())
        self._widths = utf8_widths(self._points)
        # The positions of the characters that are not ASCII, counted in characters: their positions in bytes, less the
        # number of continuation bytes before them.
        is_first = others >= 0xC0  # the first byte of a character
        continuation = self._widths - 1
        self._positions = positions[is_first] - (np.cumsum(continuation, dtype=np.int64) - continuation)
        self.codes = all_bytes[all_bytes & 0xC0 != 0x80]  # the first byte of each character
        self.codes[self._positions[self._points == ord("ſ")]] = LONG_S

    def classes(self, class_map: ClassMap) -> np.ndarray:
        classes = super().classes(class_map)
        classes[self._positions] = mapped_table(class_map)[0].take(self._points)
        return classes

    def byte_offsets(self, positions: np.ndarray) -> np.ndarray:
        # Each character that is not ASCII moves all later positions by its continuation bytes.
        more = np.zeros(len(positions) + 1, np.int64)
        np.add.at(more, np.searchsorted(positions, self._positions, side="right"), self._widths - 1)
        return positions + np.cumsum(more[:-1])


class AnyText(ASCIIText):
    def __init__(self, text: str, data: bytes, *, has_escapes: bool):
        """`has_escapes`: single bytes of `data` are written as U+DC80 to U+DCFF in `text`."""
        self.data = data
        self._points = code_points(text)
        self._widths = utf8_widths(self._points)
        if has_escapes:
            self._widths[(self._points >= 0xDC80) & (self._points <= 0xDCFF)] = 1
        self.codes = np.minimum(self._points, NOT_ASCII).astype(np.uint8)
        self.codes[self._points == ord("ſ")] = LONG_S

    def classes(self, class_map: ClassMap) -> np.ndarray:
        return mapped_table(class_map)[0].take(self._points)

    def byte_offsets(self, positions: np.ndarray) -> np.ndarray:
        return sums_before(self._widths, positions)


def text_arrays(text: str, min_ascii_ratio: float = MIN_ASCII_RATIO) -> ASCIIText:
    """The fastest representation of `text`.

    Surrogate escapes (U+DC80 to U+DCFF) become the single bytes that they stand for. Other surrogates are an error.
    """
    if text.isascii():
        return ASCIIText(text.encode())
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return AnyText(text, text.encode("utf-8", "surrogateescape"), has_escapes=True)
    is_mostly_ascii = (len(data) - len(text)) * min_ascii_ratio < len(text)
    return MostlyASCIIText(data) if is_mostly_ascii else AnyText(text, data, has_escapes=False)


@cache
def mapped_table(class_map: ClassMap) -> tuple[np.ndarray, bytes]:
    """class_map[class] of each code point, (0x110000,) uint8, and of the first 256 code points as bytes."""
    table = np.array(class_map, np.uint8)[class_table()]
    return table, table[:256].tobytes()


def utf8_widths(points: np.ndarray) -> np.ndarray:
    """The number of bytes of each code point, (n,) uint8."""
    return 1 + (points >= 0x80).view(np.uint8) + (points >= 0x800).view(np.uint8) + (points >= 0x10000).view(np.uint8)


def sums_before(widths: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """np.append(0, np.cumsum(widths))[positions], a few times as fast. `widths` (n,) uint8, at most 31 each."""
    # Eight widths are read as one 64-bit integer. Multiplied by 0x0101...01, each of its bytes is the sum of the widths
    # up to there: eight cumulative sums by one multiplication. No sum overflows, because none is greater than 255.
    n = len(widths)
    padded = np.zeros((n // 8 + 1) * 8, np.uint8)
    padded[:n] = widths
    sums = (padded.view("<u8") * EIGHT_ONES).view(np.uint8)
    totals = sums[7::8]  # of each group of eight
    before = np.cumsum(totals, dtype=np.int64) - totals
    # The sums include the width at the position itself, which is subtracted.
    return before.take(positions >> 3) + sums.take(positions) - padded.take(positions)
