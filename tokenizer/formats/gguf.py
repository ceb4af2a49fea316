"""GGUF, the format of llama.cpp: a table of names and values, then the weights. Only the table is read here.

gguf_values.py says what the values mean. Source: github.com/ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import struct
from mmap import mmap
from typing import Any

import numpy as np

from tokenizer.formats import gguf_values
from tokenizer.formats.records import FormatError, Record

MAGIC = b"GGUF"
VERSIONS = (2, 3)
# The kinds of values: numbers, with their codes in the module struct, and two others.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Reader:
    """Reads one value after another. FormatError if the data ends too early."""

    def __init__(self, data: bytes | mmap):
        self.data, self.at = data, len(MAGIC)

    def numbers(self, code: str, count: int) -> tuple:
        try:
            found = struct.unpack_from(f"<{count}{code}", self.data, self.at)
        except (struct.error, OverflowError):
            raise FormatError("is damaged: it ends within its table of values") from None
        self.at += struct.calcsize(f"<{count}{code}")
        return found

    def array(self, code: str, count: int) -> np.ndarray:
        """`count` numbers as they lie in the data: a file may say that there are many more than it needs."""
        dtype = np.dtype(code).newbyteorder("<")
        start, self.at = self.at, self.at + count * dtype.itemsize
        if self.at > len(self.data):
            raise FormatError("is damaged: it ends within its table of values")
        return np.frombuffer(self.data, dtype, count, start)

    def number(self, code: str) -> Any:
        return self.numbers(code, 1)[0]

    def text(self) -> str:
        size = self.number("Q")
        data = self.data[self.at : self.at + size] if size <= len(self.data) else b""
        self.at += size
        if len(data) < size:
            raise FormatError("is damaged: it ends within its table of values")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise FormatError("is damaged: a text in its table of values is not UTF-8") from None

    def value(self, kind: int) -> Any:
        """A number, a text, an array of numbers or a list of texts."""
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            kind, count = self.number("I"), self.number("Q")
            if kind in NUMBERS:
                return self.array(NUMBERS[kind], count)
            if kind == STRING:
                return [self.text() for _ in range(count)]
        raise FormatError(f"is damaged: it has a value of the unknown kind {kind}")


def parse(data: bytes | mmap) -> tuple[Record, dict[str, Any]]:
    """The vocabulary, and what a tokenizer_config.json would say."""
    return gguf_values.read(read_values(data))


def read_values(data: bytes | mmap) -> dict[str, Any]:
    """The values that describe the tokenizer, by their names."""
    reader = Reader(data)
    version = reader.number("I")
    if version not in VERSIONS:
        raise FormatError(f"is GGUF of version {version}, which is not supported (2 and 3 are)")
    _, count = reader.numbers("Q", 2)
    values = {}
    for _ in range(count):
        name = reader.text()
        value = reader.value(reader.number("I"))
        if name.startswith("tokenizer."):
            values[name] = value
    return values
