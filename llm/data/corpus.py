"""Text to learn from: an ordered collection of documents, which can be read several times, chunk by chunk.

A document is a string, or the path of a UTF-8 file that is opened when it is read, compressed or not. A file of rows or
a page (reading.py) is read again each time, document by document. A long document is read in several chunks, so a file
may be larger than memory. A chunk ends at the end of a line, if there is one nearby. Chunks are tokenized separately,
so no token spans two of them. With chunks of 262,144 characters, that makes no difference.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np

from llm.data.errors import DataError
from llm.data.problems import Problem, refuse
from llm.data.reading import read_file
from llm.data.rows import Reading
from llm.data.streams import COMPRESSED, damages, open_stream
from llm.data.text import is_empty, open_text

CHUNK_CHARACTERS = 1 << 18  # 262,144
MOST_NAMED = 5  # files in a message

Progress = Callable[[str, int, int | None], object]  # called with a stage of the work, what is done, and what is to do


@dataclass(frozen=True)
class DocumentFile:
    """A file whose documents are rows, or a page."""

    path: Path
    form: str  # a name of FORMS in reading.py

    def texts(self) -> Iterator[str]:
        """Raises DataError at what cannot be read. An empty row is no document."""
        for item in read_file(str(self.path), Reading(form=self.form)):
            if not isinstance(item, Problem):
                yield item.text
            elif item.name != "empty":
                refuse(item)


Source = str | Path | DocumentFile


@dataclass(frozen=True)
class Survey:
    """What is known about a corpus after all of it has been read once."""

    fingerprint: str  # SHA-256 of the text and lengths of all documents. Names and dates of files do not change it
    sizes: np.ndarray  # (documents,) int64, in characters

    @property
    def characters(self) -> int:
        return int(self.sizes.sum())


class Corpus:
    """Documents in a fixed order. Iterating over a corpus gives their text in chunks, for a tokenizer to learn from."""

    def __init__(
        self,
        name: str,
        documents: Sequence[Source],
        chunk_characters: int = CHUNK_CHARACTERS,
        left_out: Sequence[Path] = (),
    ):
        """`documents`: texts, paths of UTF-8 files, or files of documents. Raises DataError when all of them are empty.

        A chunk has `chunk_characters`, and also the rest of its last line, if that is not longer than another chunk.
        `left_out`: files that were found beside the documents, and are not text.
        """
        self.name, self.left_out = name, left_out
        self._documents, self._chunk_characters = documents, chunk_characters
        self._survey: Survey | None = None
        if not any(map(_has_text, documents)):
            raise DataError(f"{name} is empty; give a file, folder or pattern that holds some text")

    @property
    def omissions(self) -> str:
        """A sentence that names the files that are left out; "" if there are none."""
        if not self.left_out:
            return ""
        more = len(self.left_out) - MOST_NAMED
        names = ", ".join(map(str, self.left_out[:MOST_NAMED])) + (f" and {more:,} more" if more > 0 else "")
        return f"left out of {self.name}, because they hold zero bytes (binary files, or UTF-16): {names}"

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.documents())

    def documents(self) -> Iterator[Iterator[str]]:
        """Each document as an iterator over its chunks. Raises DataError at a file that is not UTF-8."""
        return (_chunks(text, self._chunk_characters) for source in self._documents for text in _texts(source))

    @property
    def bytes(self) -> int:
        """The size of all texts and files, which are not read for it."""
        return sum(map(_size_in_bytes, self._documents))

    @property
    def was_read(self) -> bool:
        """Whether the survey has been taken."""
        return self._survey is not None

    @property
    def survey(self) -> Survey:
        """Fingerprint and sizes. The first use reads all documents."""
        return self.take_survey()

    def take_survey(self, progress: Progress | None = None) -> Survey:
        """`survey`, with progress in bytes if it has not been taken before."""
        if self._survey is None:
            self._survey = self._read_all(progress)
        return self._survey

    def _read_all(self, progress: Progress | None) -> Survey:
        digest, sizes, done = hashlib.sha256(), [], 0
        total = self.bytes if all(map(_is_plain, self._documents)) else None
        for document in self.documents():
            size = 0
            for chunk in document:
                content = chunk.encode()
                digest.update(content)
                size, done = size + len(chunk), done + len(content)
                if progress:
                    progress("reading", done, total)
            # The size marks the end of the document. Without it, "ab", "c" and "a", "bc" would have one fingerprint.
            digest.update(size.to_bytes(8, "little"))
            sizes.append(size)
        return Survey(digest.hexdigest(), np.array(sizes, dtype=np.int64))


def _size_in_bytes(source: Source) -> int:
    if isinstance(source, str):
        return len(source.encode())
    return os.path.getsize(source.path if isinstance(source, DocumentFile) else source)


def _is_plain(source: Source) -> bool:
    """Whether the size of a file is that of its text."""
    return isinstance(source, str) or isinstance(source, Path) and source.suffix.lower() not in COMPRESSED


def _has_text(source: Source) -> bool:
    return not is_empty(source) if isinstance(source, Path) else any(map(bool, _texts(source)))


def _texts(source: Source) -> Iterator[str | Path]:
    return source.texts() if isinstance(source, DocumentFile) else iter([source])


def _chunks(document: str | Path, size: int) -> Iterator[str]:
    if isinstance(document, str):
        return _split(io.StringIO(document, newline=""), size)  # newline="" leaves line ends as they are
    return _file_chunks(document, size)


def _file_chunks(path: Path, size: int) -> Iterator[str]:
    try:
        with open_stream(path) as raw, open_text(raw) as file:
            try:
                yield from _split(file, size)
            except UnicodeDecodeError as error:
                # The decoder has the bytes `error.object`, which end at the current position of the file. The byte that
                # is not UTF-8 is the one at `error.start` among them.
                position = raw.tell() - len(error.object) + error.start
                byte = error.object[error.start]
                raise DataError(
                    f"{path} is not UTF-8 text (byte 0x{byte:02x} at position {position:,}); "
                    "convert it to UTF-8, or leave it out"
                ) from error
    except damages() as error:
        raise DataError(f"{path} is damaged ({error}); get it again, or leave it out") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check that it is still there") from error


def _split(text: TextIO, size: int) -> Iterator[str]:
    while chunk := text.read(size):
        yield chunk + text.readline(size)  # to the end of the line, unless that is far away
