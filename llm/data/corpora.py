"""What `--data` accepts: a file, a folder, a glob, `-` for standard input, or the name of a built-in corpus.

One file is one document. A folder means every text file below it, in the order of their paths, without hidden files and
without binary ones (those with a zero byte near the beginning; Git decides in the same way).
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
        return Corpus(data, _text_files(Path(path)))
    if os.path.isfile(path):
        return Corpus(data, [Path(path)])
    if os.path.exists(path):  # a pipe, such as the shell's <(command)
        with open(path, "rb") as stream:
            return _copied(data, stream)
    return Corpus(data, _matching_files(path))


def _copied(name: str, stream: BinaryIO) -> Corpus:
    """Copy a stream, which can be read only once, to a temporary file that exists as long as the corpus."""
    with ExitStack() as cleanup:
        path = _temporary_copy(name, stream, cleanup)
        corpus = Corpus(name, [path])
        # After an error, the end of this block deletes the folder. If there is none, `pop_all` takes this over: the
        # folder is deleted when the corpus is garbage collected.
        weakref.finalize(corpus, cleanup.pop_all().close)
    return corpus


def _temporary_copy(name: str, stream: BinaryIO, cleanup: ExitStack) -> Path:
    try:
        path = Path(cleanup.enter_context(tempfile.TemporaryDirectory())) / "text.txt"
        with open(path, "wb") as file:
            while block := _read(name, stream):
                file.write(block)
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


def _text_files(folder: Path) -> list[Path]:
    files = []
    for parent, folders, names in os.walk(folder):
        # Changed in place: os.walk enters only the folders that remain in its list.
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    texts = [path for path in sorted(files, key=lambda path: path.parts) if path.is_file() and not _is_binary(path)]
    if not texts:
        raise DataError(f"the folder {folder} holds no text files; put some there, or give another folder")
    return texts


def _is_binary(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"\0" in file.read(8192)


def _matching_files(pattern: str) -> list[Path]:
    files = [Path(match) for match in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(match)]
    if not files:
        raise DataError(
            f"--data {pattern} is neither a file, a folder, a pattern that matches files, '-' for standard input, "
            f"nor one of {', '.join(BUILT_IN)}"
        )
    return files
