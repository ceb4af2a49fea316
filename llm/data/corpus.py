"""Text to learn from: an ordered collection of documents, which can be read several times, chunk by chunk.

A document is a string, or the path of a UTF-8 file that is opened when it is read. A long document comes in several
chunks, so a file may be larger than memory. A chunk ends at the end of a line, if there is one
near. Chunks are tokenized separately, so no token spans two of them. Once in a quarter of a million characters, that
makes no difference.
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

CHUNK_CHARACTERS = 1 << 18


@dataclass(frozen=True)
class Survey:
    """What is known of a corpus when all of it has been read once."""

    fingerprint: str  # SHA-256 of the documents' text and lengths: not the names and dates of files
    sizes: np.ndarray  # (documents,) int64, in characters

    @property
    def characters(self) -> int:
        return int(self.sizes.sum())


class Corpus:
    """Documents in a fixed order. Iterating over a corpus gives their text in chunks, for a tokenizer to learn from."""

    def __init__(self, name: str, documents: Sequence[str | Path], chunk_characters: int = CHUNK_CHARACTERS):
        """`documents` are texts, or paths of UTF-8 files. Raises DataError when all of them are empty.

        A chunk has `chunk_characters`, and at most as many more to the end of its line.
        """
        self.name = name
        self._documents, self._chunk_characters = documents, chunk_characters
        if not any(map(_has_text, documents)):
            raise DataError(f"{name} is empty; give a file, folder or pattern that holds some text")

    def __len__(self) -> int:
        """The number of documents."""
        return len(self._documents)

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.documents())

    def documents(self) -> Iterator[Iterator[str]]:
        """Each document as an iterator over its chunks. Raises DataError at a file that is not UTF-8."""
        return (_chunks(document, self._chunk_characters) for document in self._documents)

    @cached_property
    def survey(self) -> Survey:
        """Fingerprint and sizes. The first use reads all documents."""
        digest, sizes = hashlib.sha256(), []
        for document in self.documents():
            size = 0
            for chunk in document:
                digest.update(chunk.encode())
                size += len(chunk)
            digest.update(size.to_bytes(8, "little"))  # so moving text to the next document changes it
            sizes.append(size)
        return Survey(digest.hexdigest(), np.array(sizes, dtype=np.int64))


def _has_text(document: str | Path) -> bool:
    return bool(document) if isinstance(document, str) else os.path.getsize(document) > 0


def _chunks(document: str | Path, size: int) -> Iterator[str]:
    if isinstance(document, str):
        return _split(io.StringIO(document, newline=""), size)  # newline="" leaves line ends as they are
    return _file_chunks(document, size)


def _file_chunks(path: Path, size: int) -> Iterator[str]:
    try:
        # utf-8-sig drops a byte order mark
        with open(path, "rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            try:
                yield from _split(file, size)
            except UnicodeDecodeError as error:
                # The decoder was given the bytes up to the current position of the file.
                position = raw.tell() - len(error.object) + error.start
                byte = error.object[error.start]
                raise DataError(
                    f"{path} is not UTF-8 text (byte 0x{byte:02x} at position {position:,}); "
                    "convert it to UTF-8, or leave it out"
                ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check that it is still there") from error


def _split(text: TextIO, size: int) -> Iterator[str]:
    while chunk := text.read(size):
        yield chunk + text.readline(size)  # to the end of the line, unless that is far away
