"""Reading the texts and tokenizers that a command is given. `-` is standard input."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

from tokenizer.models.base import BaseTokenizer
from tokenizer.split.chunks import chunks_of_file
from tokenizer.split.pretokenizer import PATTERNS, Pretokenizer
from tokenizer.split.scanner import RULES

STANDARD_INPUT = "-"


def opened(path: str, mode: str = "rb") -> Any:
    """A context manager for the file: bytes or, if `mode` is "r", text in UTF-8 with its line ends unchanged."""
    if path != STANDARD_INPUT:
        return open(path, mode) if "b" in mode else open(path, mode, encoding="utf-8", newline="")
    if "b" in mode:
        return nullcontext(sys.stdin.buffer)
    return open(sys.stdin.fileno(), mode, encoding="utf-8", newline="", closefd=False)


def read_bytes(arguments: argparse.Namespace) -> bytes:
    """The bytes of `--text`, or else of the file."""
    if arguments.text is not None:
        return arguments.text.encode("utf-8", "surrogateescape")
    with opened(arguments.file) as file:
        return file.read()


def read_text(arguments: argparse.Namespace) -> str:
    """The same as text. ValueError if it is not UTF-8."""
    data = read_bytes(arguments)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise not_text(arguments.file, error) from None


def not_text(name: str, error: UnicodeDecodeError) -> ValueError:
    name = "standard input" if name == STANDARD_INPUT else name
    byte = error.object[error.start]
    return ValueError(f"{name} is not text in UTF-8, as its byte 0x{byte:02x} shows ({error.reason}): convert it")


def corpus(paths: Iterable[str], pattern: str) -> Iterator[str]:
    """The texts of files, large files in parts.

    They are cut where words end, which is only known for the named patterns. With any other, a file is one text.
    """
    can_be_cut = PATTERNS.get(pattern, pattern) in RULES
    for path in paths:
        try:
            with opened(path, "r") as file:
                yield from chunks_of_file(file) if can_be_cut else [file.read()]
        except UnicodeDecodeError as error:
            raise not_text(path, error) from None


def check_pattern(pattern: str) -> str:
    """The pattern. ValueError if it is not valid, before any file is read."""
    Pretokenizer(pattern)
    return pattern


def load(path: str, arguments: argparse.Namespace) -> BaseTokenizer:
    """The tokenizer in a file or folder."""
    return BaseTokenizer.load(path, pattern=arguments.pattern)
