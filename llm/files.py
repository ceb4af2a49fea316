"""Writing files so that a kill, a crash or a full disk leaves either the old file or the new one, never half of one.

What is new is written under a temporary name in the same folder, forced to the disk, and renamed, which a file system does in one step.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PARTIAL = ".partial-"       # how temporary names begin


def write_file(path: Path, content: str | bytes) -> None:
    """Replace the file at `path` by `content` (text as UTF-8)."""
    with new_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; when the block ends without an error the file takes the place of `path`."""
    handle, name = tempfile.mkstemp(prefix=PARTIAL, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        os.chmod(partial, 0o666 & ~_umask())       # mkstemp makes files that only their owner can read
        flush(partial)
        os.replace(partial, path)
        flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; when the block ends without an error it takes the place of `path`."""
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
    try:
        yield partial
        os.chmod(partial, 0o777 & ~_umask())
        for file in partial.iterdir():
            os.chmod(file, 0o666 & ~_umask())       # safetensors, too, makes files that only their owner can read
            flush(file)
        flush(partial)
        if path.exists():                           # a filled folder cannot be renamed over: step aside first
            path.rename(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
        partial.rename(path)
        flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def link_file(existing: Path, path: Path) -> None:
    """Make `path` another name of the file `existing`; a copy, where the file system has no hard links."""
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent) as folder:
        partial = Path(folder) / path.name
        try:
            os.link(existing, partial)
        except OSError:
            shutil.copyfile(existing, partial)
        os.replace(partial, path)


def remove_partial(folder: Path) -> None:
    """Delete what killed processes left behind. Only for a folder that no other process is writing to."""
    for path in folder.glob(PARTIAL + "*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Force a file or folder from the system's buffers to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
