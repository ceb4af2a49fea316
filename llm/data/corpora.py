"""What `--data` accepts: a file, a folder, a glob, `-` for standard input, or the name of a built-in corpus.

A file is one document, if it is not a file of rows, such as JSON lines (reading.py). A folder means every file below
it, in the order of their paths, without hidden files; of a folder that `python -m llm.data` wrote, what was kept. Files
that are not text (text.py) are left out of folders and patterns, and the corpus says which; given alone they are
refused.
"""

from __future__ import annotations

import glob
import os
import sys
import tempfile
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from llm.data.builtin import BUILT_IN
from llm.data.corpus import Corpus, DocumentFile, Source
from llm.data.errors import DataError
from llm.data.names import files_below
from llm.data.reading import form_of
from llm.data.streams import GZIP, PARQUET, ZSTANDARD, damages, open_stream
from llm.data.text import HEAD_BYTES, NotText, check_text


def open_corpus(data: str) -> Corpus:
    """The corpus that `data` names. A built-in name wins over a file of the same name; `./shakespeare` means the file.

    Raises DataError when it does not exist, has no text, or cannot be read.
    """
    try:
        return _open(data)
    except OSError as error:
        raise DataError(f"could not read --data {data} ({error}); check that you may read it") from error


def _open(data: str) -> Corpus:
    if data in BUILT_IN:
        return BUILT_IN[data]()
    if data == "-":
        if sys.stdin is None:  # closed, as by the shell's <&-
            raise DataError("standard input is closed; give --data a file, or send the text through a pipe")
        return _copied("standard input", sys.stdin.buffer)
    path = os.path.expanduser(data)
    if os.path.isdir(path):
        return _from_files(data, list(files_below(path)))
    if os.path.isfile(path):
        return Corpus(data, [_source(data, path, path)])
    if os.path.exists(path):  # a pipe, such as the shell's <(command)
        with open(path, "rb") as stream:
            return _copied(data, stream)
    return _from_files(data, _matching_files(path))


def _source(name: str, path: str | Path, named: str | Path | None) -> Source:
    """A file for a corpus. `named`: the path that says its form; None if it is only a copy of a stream."""
    try:
        with open_stream(path) as stream:
            form = form_of(named, stream)
            if form == "binary":
                check_text(name, stream.read(HEAD_BYTES))
    except damages() as error:
        raise DataError(f"{path} is damaged ({error}); get it again, or leave it out") from error
    return Path(path) if form == "text" else DocumentFile(Path(path), form)


def _copied(name: str, stream: BinaryIO) -> Corpus:
    """Copy a stream, which can be read only once, to a temporary file that exists as long as the corpus."""
    with ExitStack() as cleanup:
        path = _temporary_copy(name, stream, cleanup)
        corpus = Corpus(name, [_source(name, path, None)])
        # After an error, the end of this block deletes the temporary folder. Without an error, `pop_all` prevents this,
        # and the folder is deleted when the corpus is garbage collected.
        weakref.finalize(corpus, cleanup.pop_all().close)
    return corpus


def _temporary_copy(name: str, stream: BinaryIO, cleanup: ExitStack) -> Path:
    block = _read(name, stream, HEAD_BYTES)
    if not block.startswith((GZIP, ZSTANDARD, PARQUET)):
        check_text(name, block)  # before the copy: a device such as /dev/zero has no end
    try:
        path = Path(cleanup.enter_context(tempfile.TemporaryDirectory())) / "text.txt"
        with open(path, "wb") as file:
            while block:
                file.write(block)
                block = _read(name, stream)
    except OSError as error:  # no folder for temporary files, or a full one
        raise DataError(
            f"{name} could not be copied to a temporary file ({error}); make room there, or set the environment "
            "variable TMPDIR to another folder"
        ) from error
    return path


def _read(name: str, stream: BinaryIO, size: int = 1 << 20) -> bytes:
    try:
        return stream.read(size)
    except OSError as error:
        raise DataError(f"{name} could not be read ({error.strerror}); check what writes to it") from error


def _from_files(name: str, files: list[str]) -> Corpus:
    sources, left_out = [], []
    for path in files:
        try:
            sources.append(_source(path, path, path))
        except NotText:
            left_out.append(Path(path))
    if not sources:
        raise DataError(f"{name} holds no text files; put some there, or give another folder or pattern")
    return Corpus(name, sources, left_out=left_out)


def _matching_files(pattern: str) -> list[str]:
    files = [match for match in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(match)]
    if not files:
        raise DataError(
            f"--data {pattern} is neither a file, a folder, a pattern that matches files, '-' for standard input, "
            f"nor one of {', '.join(BUILT_IN)}"
        )
    return files
