"""Folders, links, locks, and JSON with a checksum. A kill, a crash or a full disk never leaves half a file or folder.

tokenizer/formats/atomic.py writes single files, and explains how. A folder is written and renamed in the same way.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from tokenizer.formats.atomic import flush, new_file, refuse_unwritable, temporary_name, write_file

CHECKSUM = "sha256"  # the key of the checksum in a JSON file
LARGEST_JSON = 1 << 24  # bytes: a thousand times what this project writes. A larger file is something else


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where they are missing. OSError if there is a file at one of these names."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        file = next(each for each in (path, *path.parents) if each.exists())
        raise NotADirectoryError(errno.ENOTDIR, "it is a file, where a folder is wanted", str(file)) from None


def prepare_file(path: Path) -> None:
    """OSError if no file can be written at `path`. A command asks this before its work, which may take hours."""
    if not path.parent.is_dir():
        problem = "it is a file, where a folder is wanted" if path.parent.exists() else "there is no such folder"
        raise NotADirectoryError(errno.ENOTDIR, f"{problem}; give another path", str(path.parent))
    refuse_unwritable(path)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill. When the block ends without an error, it is renamed to `path`.

    If another process has created the folder `path` in the meantime, its folder stays, and the new one is deleted.
    """
    partial = temporary_name(path)
    partial.mkdir()
    try:
        yield partial
        mode = partial.stat().st_mode & 0o666
        for inner in partial.rglob("*"):
            if inner.is_file():
                inner.chmod(mode)  # some libraries create files that only their owner can read
            flush(inner)
        flush(partial)
        try:
            partial.rename(path)
        except OSError:  # `path` is a folder with files in it: a folder cannot be renamed to that
            if not path.is_dir():
                raise
        flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def link_file(existing: Path, path: Path) -> None:
    """Make `path` another name of the file `existing`; a copy, where the file system has no hard links."""
    link = temporary_name(path)
    try:
        os.link(existing, link)
    except OSError:
        with new_file(path) as partial:
            shutil.copyfile(existing, partial)
        return
    try:
        os.replace(link, path)
        flush(path.parent)
    finally:
        link.unlink(missing_ok=True)  # replacing does nothing, if both are names of the same file already


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder during the block. Raises BlockingIOError when another process has locked it.

    The system removes the lock also when the process is killed.
    """
    try:
        import fcntl
    except ImportError:  # Windows: no such lock
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write `data` in a form that people can read, with a checksum, so that `read_json` notices damage."""
    write_file(path, json.dumps({**data, CHECKSUM: _checksum(data)}, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The data in a file of `write_json`. Raises ValueError when it is missing, damaged, or not such a file.

    The message says "it", and the caller adds the name of the file. A file without a checksum is accepted: to edit a
    file by hand, remove its checksum.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_JSON:
                raise ValueError(f"it has {size:,} bytes, too many for such a file")
            data = json.loads(file.read().decode())
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"it holds a {type(data).__name__}, not an object")
    if data.pop(CHECKSUM, None) not in (None, _checksum(data)):
        raise ValueError(f"it is not as it was written; if you edited it yourself, remove its entry {CHECKSUM!r}")
    return data


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read its bytes. Raises OSError for a pipe or a device: reading one may never end."""
    # Without O_NONBLOCK, opening a pipe would wait until another process writes to it. Files are read as without.
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
    return file


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all that is in it, as far as that is possible. No error if it is not."""
    if path.is_dir() and not path.is_symlink():
        # Only for folders: rmtree opens its argument, and waits if it is a pipe.
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
