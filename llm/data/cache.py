"""The cache folder. A file or folder appears in it whole or not at all, also when two processes write the same one.

    shakespeare.txt           a download
    tokens/HASH/              a tokenized text (dataset.py)
    tokenizers/HASH/          a tokenizer learned from a text (learned.py)

All of it can be made again, so any of it may be deleted at any time. After something was added, the folders HASH that
were not used for the longest time are deleted, until all together have at most MINIGRAD_CACHE_GB gigabytes (20).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llm.data.errors import DataError
from llm.runs import files
from tokenizer.formats import atomic

KINDS = ("tokens", "tokenizers")
HASH_DIGITS = 32
LIMIT = "MINIGRAD_CACHE_GB"
DEFAULT_GIGABYTES = 20.0


def cache_folder() -> Path:
    """Where downloads and tokenized text are kept: $MINIGRAD_CACHE, else ~/.cache/minigrad."""
    return Path(os.environ.get("MINIGRAD_CACHE") or "~/.cache/minigrad").expanduser()


def entry(kind: str, recipe: str) -> Path:
    """The folder of a result. `kind`: one of KINDS; `recipe`: a text with everything that the content depends on."""
    return cache_folder() / kind / hashlib.sha256(recipe.encode()).hexdigest()[:HASH_DIGITS]


def is_cached(folder: Path) -> bool:
    """Whether this folder of the cache is there. Asking counts as using it."""
    with suppress(OSError):  # it may be on a disk that is read-only
        os.utime(folder)
    return folder.exists()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """`llm.runs.files.new_folder`, within the cache. Raises DataError when it cannot be written."""
    limit = size_limit()
    with _writing(target):
        with files.new_folder(target) as partial:
            yield partial
        shrink(cache_folder(), limit, keep=target)


def write_file(target: Path, content: bytes) -> None:
    """`write_file` of tokenizer/formats/atomic.py, within the cache. Raises DataError when it cannot be written."""
    with _writing(target):
        atomic.write_file(target, content)


def size_limit() -> int:
    """The bytes that the folders of the cache may have together. Raises DataError if MINIGRAD_CACHE_GB is no number."""
    text = os.environ.get(LIMIT) or str(DEFAULT_GIGABYTES)
    with suppress(ValueError, OverflowError):
        limit = round(float(text) * 1e9)
        if limit >= 0:
            return limit
    raise DataError(f"{LIMIT}={text!r} is not a number of gigabytes, such as {DEFAULT_GIGABYTES:g}")


def shrink(cache: Path, limit: int, keep: Path) -> None:
    """Delete the folders of the cache that were not used for the longest time, but not `keep`, until `limit` holds."""
    # Only folders whose names are of the form of `entry`: MINIGRAD_CACHE may be a folder that has other things in it.
    folders = [folder for kind in KINDS for folder in (cache / kind).glob(HASH_DIGITS * "[0-9a-f]")]
    sizes = {folder: sum(_status(path, "st_size") for path in folder.rglob("*")) for folder in folders}
    total = sum(sizes.values())
    for folder in sorted(folders, key=lambda folder: _status(folder, "st_mtime")):  # `is_cached` sets this time
        if total <= limit:
            return
        if folder != keep:
            total -= sizes[folder]
            with suppress(OSError):  # another process is deleting it too, or (on Windows) is reading it
                # Renamed first, so that no other process finds a folder of which half is deleted.
                shutil.rmtree(folder.rename(atomic.temporary_name(folder)), ignore_errors=True)


def _status(path: Path, name: str) -> float:
    """A field of `os.stat_result`; 0 if the file is no longer there."""
    try:
        return getattr(path.lstat(), name)
    except OSError:  # another process has deleted it in the meantime
        return 0


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.remove_partial(target.parent, unchanged_for=atomic.ABANDONED_AFTER)
        yield
    except OSError as error:
        raise DataError(
            f"could not write to the cache folder {target.parent} ({error.strerror or error}); "
            "make room there, or set MINIGRAD_CACHE to another folder"
        ) from error
