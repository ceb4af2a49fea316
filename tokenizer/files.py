"""Tokenizers in files: which file, and how it is read and written without harm."""

from __future__ import annotations

import os
from pathlib import Path

from .formats import Contents, FormatError, parse, serialize

FILE_NAME = "tokenizer.json"


def locate(path: str | os.PathLike) -> Path:
    """The file meant by `path`, which may be a folder."""
    path = Path(path)
    return path / FILE_NAME if path.is_dir() else path


def read(path: str | os.PathLike) -> Contents:
    """What the tokenizer.json at `path` (or in the folder `path`) holds. FormatError if it is damaged or foreign."""
    path = locate(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give a {FILE_NAME} or the folder that holds one")
    try:
        return parse(path.read_bytes())
    except FormatError as error:
        raise FormatError(f"{path} {error}") from None
    except RecursionError:
        raise FormatError(f"{path} is no {FILE_NAME}: it is nested too deeply") from None


def write(path: str | os.PathLike, contents: Contents) -> None:
    """Write under another name, then rename: at any instant the file is the old one or the new one, and whole."""
    data = serialize(contents)
    path = locate(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or the name could reach the disk before the data
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
