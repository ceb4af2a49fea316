"""What `--data` accepts: a file, a folder, a glob, `-` for standard input, or the name of a built-in corpus.

One file is one document. A folder means every text file below it, in the order of their paths, without hidden files.
Files that are not text (text.py) are left out of folders and patterns, and the corpus says which; given alone they are
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
from llm.data.corpus import Corpus
from llm.data.errors import DataError
from llm.data.text import HEAD_BYTES, check_text, is_text


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
        return _text_files(data, _files_below(Path(path)))
    if os.path.isfile(path):
        with open(path, "rb") as file:
            check_text(data, file.read(HEAD_BYTES))
        return Corpus(data, [Path(path)])
    if os.path.exists(path):  # a pipe, such as the shell's <(command)
        with open(path, "rb") as stream:
            return _copied(data, stream)
    return _text_files(data, _matching_files(path))


def _copied(name: str, stream: BinaryIO) -> Corpus:
    """Copy a stream, which can be read only once, to a temporary file that exists as long as the corpus."""
    with ExitStack() as cleanup:
        path = _temporary_copy(name, stream, cleanup)
        corpus = Corpus(name, [path])
        # After an error, the end of this block deletes the temporary folder. Without an error, `pop_all` prevents this,
        # and the folder is deleted when the corpus is garbage collected.
        weakref.finalize(corpus, cleanup.pop_all().close)
    return corpus


def _temporary_copy(name: str, stream: BinaryIO, cleanup: ExitStack) -> Path:
    block = _read(name, stream, HEAD_BYTES)
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


def _text_files(name: str, files: list[Path]) -> Corpus:
    texts = list(filter(is_text, files))
    if not texts:
        raise DataError(f"{name} holds no text files; put some there, or give another folder or pattern")
    return Corpus(name, texts, left_out=sorted({*files} - {*texts}))


def _files_below(folder: Path) -> list[Path]:
    files = []
    for parent, folders, names in os.walk(folder):
        # Changed in place: os.walk enters only the folders that remain in its list.
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return [path for path in sorted(files, key=lambda path: path.parts) if path.is_file()]


def _matching_files(pattern: str) -> list[Path]:
    files = [Path(match) for match in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(match)]
    if not files:
        raise DataError(
            f"--data {pattern} is neither a file, a folder, a pattern that matches files, '-' for standard input, "
            f"nor one of {', '.join(BUILT_IN)}"
        )
    return files
