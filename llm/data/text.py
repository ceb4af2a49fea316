"""Bytes to text: the same rules for what a model learns from and for a prompt that it continues.

Text is UTF-8. A byte order mark at its beginning is dropped: Windows writes one to say that a file is UTF-8. Line ends
stay as they are. A file with a zero among its first 8,192 bytes is not text (Git decides in a similar way): it is a
binary file, or UTF-16, in which every second byte of an English text is zero.
"""

from __future__ import annotations

import codecs
import io
from pathlib import Path
from typing import BinaryIO

from llm.data.errors import DataError
from llm.data.streams import open_stream

HEAD_BYTES = 8192


class NotText(DataError):
    """It has zero bytes."""


def open_text(raw: BinaryIO, errors: str = "strict") -> io.TextIOWrapper:
    """A stream of text over a stream of bytes, which is closed with it. `errors` as for `bytes.decode`."""
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors=errors, newline="")


def decode_prompt(content: bytes) -> str:
    """The text of a prompt that was piped in or read from a file, without the line end after its last line.

    Bytes that are not UTF-8 become surrogates. Tokenizers turn surrogates into the same bytes again.
    """
    check_text("the prompt from standard input", content[:HEAD_BYTES])
    text = open_text(io.BytesIO(content), "surrogateescape").read()
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def check_text(name: str, head: bytes) -> None:
    """Raise NotText if a file or stream that begins with the bytes `head` is not text."""
    if b"\0" in head:
        raise NotText(
            f"{name} is not UTF-8 text: it has a zero byte at position {head.index(0):,}, so it is a binary file "
            "or UTF-16; convert it to UTF-8"
        )


def is_empty(path: Path) -> bool:
    """Whether there is no text in the file: nothing, or nothing but a byte order mark."""
    with open_stream(path) as file:
        return file.read(len(codecs.BOM_UTF8) + 1) in (b"", codecs.BOM_UTF8)
