"""Writing files so that a kill, a crash or a full disk leaves either the old file or the new one, never half of one.

A new file is written under a temporary name in the same folder, forced to the disk, and then renamed. Renaming is a
single step for a file system: it happens completely or not at all. Checkpoints, tokenizers and other files that must
not be lost are written with these functions.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial-"  # how temporary names begin
ABANDONED_AFTER = 24 * 3600.0  # if a half-written file has not changed for so many seconds, its process has died


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to. When the block ends without an error, the file replaces `path`.

    A file that is replaced gives the new one its permissions. A symbolic link is replaced, and the file to which it
    leads stays as it is: that file may be shared, as in the cache of Hugging Face. OSError if `path` is not a file.
    """
    refuse_other_kinds(path)
    remove_partial(path.parent, unchanged_for=ABANDONED_AFTER)
    partial = empty_partial(path)
    try:
        replaced = path.is_file() and not path.is_symlink()
        mode = (path if replaced else partial).stat().st_mode & 0o777
        yield partial
        flush(partial)  # before the renaming: after a crash, the new name must not lead to an empty file
        partial.chmod(mode)  # some libraries create files that only their owner can read
        os.replace(partial, path)
        flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def empty_partial(path: Path) -> Path:
    """A new, empty file beside `path`, with a temporary name. OSError, which names `path`, if there can be none."""
    partial = temporary_name(path)
    # O_EXCL: an error if there is already something at this name, such as a symbolic link by which a stranger makes us
    # write to another file. The permissions are those of every new file: 0o666 without what the umask forbids.
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    return partial


def refuse_unwritable(path: Path) -> None:
    """OSError if no file can be written at `path`: to be told before hours of work, not after them."""
    refuse_other_kinds(path)
    empty_partial(path).unlink()


def write_file(path: Path, content: str | bytes) -> None:
    """Replace the file at `path` by `content` (text as UTF-8)."""
    with new_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_partial(folder: Path, unchanged_for: float = 0.0) -> None:
    """Delete half-written files of killed processes: those that have not changed for `unchanged_for` seconds.

    0 deletes also the files that another process is writing now: use it only where no other process uses the folder.
    """
    for partial in folder.glob(PARTIAL + "*"):
        # OSError: its process is alive and has just renamed it, or we are not allowed to delete it.
        with suppress(OSError):
            last_change = max(path.lstat().st_mtime for path in (partial, *partial.rglob("*")))
            if time.time() - last_change >= unchanged_for:
                shutil.rmtree(partial) if partial.is_dir() and not partial.is_symlink() else partial.unlink()


def is_file(path: Path) -> bool:
    """Whether there is a file at `path`. OSError if there is something else, such as a pipe, which may have no end."""
    refuse_other_kinds(path)
    return path.is_file()


def refuse_other_kinds(path: Path) -> None:
    """OSError if there is something at `path` that is not a file: a folder, or a device such as /dev/null."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a regular file: give the name of a file", str(path))
    if path.exists() and not path.is_file():
        problem = "it is a device or a pipe, not a regular file: give the name of a file"
        raise OSError(errno.EINVAL, problem, str(path))


def temporary_name(path: Path) -> Path:
    """A new name in the folder of `path`, which nobody can guess, and which no other thread or process has."""
    return path.with_name(PARTIAL + secrets.token_hex(8))


def flush(path: Path) -> None:
    """Force a file or folder from the system's buffers to the disk."""
    is_folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    except PermissionError:
        if is_folder:  # Windows cannot open a folder. Elsewhere, a folder may be writable but not readable
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
