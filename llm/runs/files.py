"""Writing files so that a kill, a crash or a full disk leaves either the old file or the new one, never half of one.

What is new is made under a temporary name beside its final one, forced to the disk, and renamed, which a file system
does in one step.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PARTIAL = ".partial-"  # how temporary names begin
SEAL = "sha256"  # the key of the checksum in a JSON file


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; when the block ends without an error the file takes the place of `path`."""
    partial = _beside(path)
    try:
        yield partial
        flush(partial)
        os.replace(partial, path)
        flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; when the block ends without an error it is renamed to `path`.

    When a folder has come to stand there meanwhile (another process made the same), that one stays and ours is dropped.
    """
    partial = _beside(path)
    partial.mkdir()
    try:
        yield partial
        mode = partial.stat().st_mode & 0o666
        for inner in partial.rglob("*"):
            if inner.is_file():
                inner.chmod(mode)  # some libraries make files that only their owner can read
            flush(inner)
        flush(partial)
        try:
            partial.rename(path)
        except OSError:  # so ends renaming a folder onto a filled one
            if not path.is_dir():
                raise
        flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Replace the file at `path` by `content` (text as UTF-8)."""
    with new_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def link_file(existing: Path, path: Path) -> None:
    """Make `path` another name of the file `existing`; a copy, where the file system has no hard links."""
    with new_file(path) as partial:
        try:
            os.link(existing, partial)
        except OSError:
            shutil.copyfile(existing, partial)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, until the block or the process ends, however it ends. Raises BlockingIOError when another process
    holds it.
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


def remove_partial(folder: Path, unchanged_for: float = 0.0) -> None:
    """Delete what killed processes left half-made in a folder, and did not touch in the last so many seconds.

    With 0, only where no other process is at work: it would lose what it is making.
    """
    for partial in folder.glob(PARTIAL + "*"):
        with suppress(OSError):  # it vanished while we looked (its owner is alive), or belongs to somebody else
            last_change = max(path.stat().st_mtime for path in (partial, *partial.rglob("*")))
            if time.time() - last_change >= unchanged_for:
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write `data` for people to read, with a checksum by which `read_json` sees damage."""
    write_file(path, json.dumps({**data, SEAL: _seal(data)}, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote. Raises ValueError, without the name of the file, when it is missing, damaged or
    something else.

    Without a checksum anything goes: that is how to edit such a file by hand.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"it holds a {type(data).__name__}, not an object")
    if data.pop(SEAL, None) not in (None, _seal(data)):
        raise ValueError(f"it is not as it was written; if you edited it yourself, remove its entry {SEAL!r}")
    return data


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Force a file or folder from the system's buffers to the disk."""
    if path.is_dir() and os.name == "nt":  # Windows does not open folders
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    return path.with_name(PARTIAL + secrets.token_hex(8))


def _seal(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
