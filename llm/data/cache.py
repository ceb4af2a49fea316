"""The cache folder, and how something gets into it whole or not at all.

A file or folder is built under a temporary name beside its final one and then renamed, which the file system does
in one step. So a process that is killed leaves nothing half-made under a final name, and two processes that build
the same thing at once do not disturb each other.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm.data.errors import DataError

PARTIAL = ".partial"  # how temporary names end
ABANDONED_AFTER = 24 * 3600.0  # seconds without a change, after which a temporary folder is taken for a dead process's


def cache_folder() -> Path:
    """Where downloads and tokenized text are kept: $MINIGRAD_CACHE, else ~/.cache/minigrad."""
    return Path(os.environ.get("MINIGRAD_CACHE") or "~/.cache/minigrad").expanduser()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; when the block ends without an error it is renamed to `target`.

    When `target` has come into being meanwhile (another process built the same), that one stays and ours is dropped.
    Raises DataError when the disk does not let us write.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent)
        partial = Path(tempfile.mkdtemp(suffix=PARTIAL, dir=target.parent))
        try:
            yield partial
            _rename_unless_there(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise _not_writable(target, error) from error


def write_file(target: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it to `target`. Raises DataError when it cannot be written."""
    partial = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(suffix=PARTIAL, dir=target.parent, delete=False) as file:
            partial = file.name
            file.write(content)
        os.replace(partial, target)
    except OSError as error:
        if partial is not None:
            os.unlink(partial)
        raise _not_writable(target, error) from error


def _rename_unless_there(partial: Path, target: Path) -> None:
    try:
        os.rename(partial, target)
    except OSError:  # renaming a folder onto a filled one is refused: someone was faster, with the same content
        if not target.exists():
            raise


def _remove_abandoned(folder: Path) -> None:
    """Delete the temporary folders of processes that were killed, so that they do not fill the disk."""
    for partial in folder.glob("*" + PARTIAL):
        try:
            last_change = max(entry.stat().st_mtime for entry in (partial, *partial.iterdir()))
        except OSError:  # it vanished while we looked: its owner is alive
            continue
        if time.time() - last_change > ABANDONED_AFTER:
            shutil.rmtree(partial, ignore_errors=True)


def _not_writable(target: Path, error: OSError) -> DataError:
    return DataError(
        f"Could not write to the cache folder {target.parent} ({error.strerror or error}): "
        "make room there, or set MINIGRAD_CACHE to another folder."
    )
