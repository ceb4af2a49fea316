"""Reading the texts and tokenizers that a command is given. `-` is standard input."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from stat import S_ISDIR
from typing import Any, TextIO

from tokenizer.formats.records import PatternKnown
from tokenizer.models.base import BaseTokenizer
from tokenizer.split.chunks import chunks_of_file
from tokenizer.split.pretokenizer import PATTERNS
from tokenizer.split.scanner import RULES

STANDARD_INPUT = "-"


def load(path: str, arguments: argparse.Namespace) -> BaseTokenizer:
    """The tokenizer in a file or folder. ValueError for --pattern if the file says itself how text is split."""
    return load_all([path], arguments)[0]


def load_all(paths: Sequence[str], arguments: argparse.Namespace) -> list[BaseTokenizer]:
    """Several tokenizers. --pattern is used for the files that do not say how text is split. ValueError if all do."""
    tokenizers, known = [], []  # known: the paths of files that say how text is split
    for path in paths:
        try:
            tokenizers.append(BaseTokenizer.load(path, pattern=arguments.pattern))
        except PatternKnown:
            tokenizers.append(BaseTokenizer.load(path))
            known.append(path)
    if len(known) == len(paths):
        raise ValueError(f"leave out --pattern: how text is split is known for {' and '.join(known)}")
    return tokenizers


def standard_input() -> TextIO:
    if sys.stdin is None:
        raise ValueError("standard input is closed: name a file")
    return sys.stdin


def open_bytes(path: str) -> Any:
    """A context manager for the bytes of a file."""
    check_input(path)
    return nullcontext(standard_input().buffer) if path == STANDARD_INPUT else open(path, "rb")


def open_text(path: str) -> Any:
    """A context manager for a text in UTF-8 with its line ends unchanged, without a byte order mark before it."""
    check_input(path)
    is_standard = path == STANDARD_INPUT
    file = standard_input().fileno() if is_standard else path
    return open(file, encoding="utf-8-sig", newline="", closefd=not is_standard)


def check_input(path: str) -> None:
    """OSError if there is nothing at `path`, or a folder."""
    if path != STANDARD_INPUT and S_ISDIR(os.stat(path).st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder: name the files in it", path)


def status(path: str) -> os.stat_result | None:
    """What the system knows about an input, such as which file it is; None if it does not exist."""
    try:
        return os.fstat(standard_input().fileno()) if path == STANDARD_INPUT else os.stat(path)
    except (OSError, ValueError):
        return None


def read_bytes(arguments: argparse.Namespace) -> bytes:
    """The bytes of `--text`, or else of the file."""
    if arguments.text is not None:
        return arguments.text.encode("utf-8", "surrogateescape")
    with open_bytes(arguments.file) as file:
        return file.read()


def read_text(arguments: argparse.Namespace) -> str:
    """The text of `--text`, or else of the file. ValueError if it is not UTF-8."""
    data = read_bytes(arguments)
    try:
        return data.decode("utf-8-sig")  # without a byte order mark, which is not a part of the text
    except UnicodeDecodeError as error:
        raise not_utf8(arguments.file, error) from None


def not_utf8(path: str, error: UnicodeDecodeError) -> ValueError:
    name = "standard input" if path == STANDARD_INPUT else path
    byte = error.object[error.start]
    return ValueError(f"{name} is not text in UTF-8, as its byte 0x{byte:02x} shows ({error.reason}): convert it")


def read_corpus(paths: Iterable[str], pattern: str) -> Iterator[str]:
    """The texts of files, large files in parts.

    They are cut where words end, which is only known for the named patterns. With any other, a file is one text.
    """
    can_be_cut = PATTERNS.get(pattern, pattern) in RULES
    for path in paths:
        try:
            with open_text(path) as file:
                yield from chunks_of_file(file) if can_be_cut else [file.read()]
        except UnicodeDecodeError as error:
            raise not_utf8(path, error) from None
