"""The cache folder. A file or folder appears in it whole or not at all, also when two processes write the same one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm.data.errors import DataError
from llm.runs import files
from tokenizer.formats import atomic

# If a half-written file has not changed for this many seconds, its process has probably died, and it is deleted.
ABANDONED_AFTER = 24 * 3600.0


def cache_folder() -> Path:
    """Where downloads and tokenized text are kept: $MINIGRAD_CACHE, else ~/.cache/minigrad."""
    return Path(os.environ.get("MINIGRAD_CACHE") or "~/.cache/minigrad").expanduser()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """`llm.runs.files.new_folder`, within the cache. Raises DataError when it cannot be written."""
    with _writing(target), files.new_folder(target) as partial:
        yield partial


def write_file(target: Path, content: bytes) -> None:
    """`write_file` of tokenizer/formats/atomic.py, within the cache. Raises DataError when it cannot be written."""
    with _writing(target):
        atomic.write_file(target, content)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.remove_partial(target.parent, unchanged_for=ABANDONED_AFTER)
        yield
    except OSError as error:
        raise DataError(
            f"could not write to the cache folder {target.parent} ({error.strerror or error}); "
            "make room there, or set MINIGRAD_CACHE to another folder"
        ) from error
