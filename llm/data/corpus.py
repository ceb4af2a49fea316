"""Text to learn from: an ordered collection of documents that is read piece by piece, as often as needed.

A document is a string, or the path of a UTF-8 file that is opened when its turn comes. A long document arrives as
several pieces of about PIECE characters, so a file may be larger than memory. Pieces end at line ends where there
are any within reach, and are tokenized separately: a token never spans two pieces, which in a quarter of a million
characters is of no consequence.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np

from llm.data.errors import DataError

PIECE = 1 << 18  # characters; a piece has at most twice as many


@dataclass(frozen=True)
class Survey:
    """What one reading of a whole corpus tells."""

    fingerprint: str  # SHA-256 of the documents' text and lengths: names and dates of files do not matter
    sizes: np.ndarray  # (documents,) int64, characters of each

    @property
    def characters(self) -> int:
        return int(self.sizes.sum())


class Corpus:
    """Documents in a fixed order. Iterating gives their text in pieces (what a tokenizer is trained on)."""

    def __init__(self, name: str, documents: Sequence[str | Path]):
        """`documents` are texts, or paths of UTF-8 files. Raises DataError when all of them are empty."""
        self.name = name
        self._documents = documents
        if not any(map(_has_text, documents)):
            raise DataError(f"{name} is empty: give a file, folder or pattern that holds some text.")

    def __len__(self) -> int:
        """The number of documents."""
        return len(self._documents)

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.documents())

    def documents(self) -> Iterator[Iterator[str]]:
        """Each document as an iterator over its pieces. Raises DataError at a file that is not UTF-8."""
        return map(_pieces, self._documents)

    @cached_property
    def survey(self) -> Survey:
        """Fingerprint and sizes: reads everything once, then is remembered."""
        digest, sizes = hashlib.sha256(), []
        for document in self.documents():
            size = 0
            for piece in document:
                digest.update(piece.encode())
                size += len(piece)
            digest.update(size.to_bytes(8, "little"))  # moving a border between documents changes the fingerprint
            sizes.append(size)
        return Survey(digest.hexdigest(), np.array(sizes, dtype=np.int64))


def _has_text(document: str | Path) -> bool:
    return bool(document) if isinstance(document, str) else os.path.getsize(document) > 0


def _pieces(document: str | Path) -> Iterator[str]:
    # newline="" leaves line ends as they are
    return _in_pieces(io.StringIO(document, newline="")) if isinstance(document, str) else _file_pieces(document)


def _file_pieces(path: Path) -> Iterator[str]:
    try:
        # utf-8-sig drops a byte order mark
        with open(path, "rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            try:
                yield from _in_pieces(file)
            except UnicodeDecodeError as error:
                # The bytes that the decoder was given end where the file has been read to.
                position = raw.tell() - len(error.object) + error.start
                byte = error.object[error.start]
                raise DataError(
                    f"{path} is not UTF-8 text (byte 0x{byte:02x} at position {position:,}): "
                    "convert it to UTF-8, or leave it out."
                ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check that it is still there.") from error


def _in_pieces(text: TextIO) -> Iterator[str]:
    while piece := text.read(PIECE):
        yield piece + text.readline(PIECE)  # to the end of the line, unless that is far away
