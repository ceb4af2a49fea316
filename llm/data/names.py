"""Files by their names: a file, a folder with all below it, a pattern such as "web/*.jsonl.gz", "-" for standard input.

A folder that `python -m llm.data` has written stands for the documents that it kept.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence

from llm.data.errors import DataError
from llm.data.streams import STANDARD_INPUT

KEPT = re.compile(r"kept-\d{5,}\.jsonl")
SHARD = re.compile(r"(kept|dropped)-\d{5,}\.jsonl")
STATE = "state.json"  # is in a folder of the lab until all of it is written


def is_shard(path: str) -> bool:
    """Whether a file has the name of one that the lab writes."""
    return SHARD.fullmatch(os.path.basename(path)) is not None


def files_of(names: Sequence[str]) -> Iterator[str]:
    """The paths of all files. Raises DataError for a name that is none, or that has no files."""
    for name in names:
        none = True
        for path in _files_of(name):
            none = False
            yield path
        if none:
            raise DataError(f"{name} is neither a file, a pattern that matches files, nor a folder with files in it")


def _files_of(name: str) -> Iterator[str]:
    path = os.path.expanduser(name)
    if name == STANDARD_INPUT or os.path.exists(path) and not os.path.isdir(path):
        yield path
    elif os.path.isdir(path):
        yield from files_below(path)
    else:
        for match in sorted(glob.glob(path, recursive=True)):
            if os.path.isfile(match):
                yield match


def files_below(folder: str) -> Iterator[str]:
    """All files below a folder in the order of their paths, without hidden ones. Links to folders are not followed.

    A link that leads nowhere is one of them: that its file is gone is told when it is read.
    """
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    for name in kept_of(folder, names):
        path = os.path.join(folder, name)
        if os.path.isfile(path) or not os.path.exists(path):
            yield path
        elif os.path.isdir(path) and not os.path.islink(path):
            yield from files_below(path)


def kept_of(folder: str, names: list[str]) -> list[str]:
    """Of the names in a folder of the lab: those of the documents that were kept. In other folders all."""
    kept = [name for name in names if KEPT.fullmatch(name)]
    if kept:
        refuse_unfinished(folder)
    return kept or names


def refuse_unfinished(folder: str | os.PathLike[str]) -> None:
    """Raise DataError if a folder of the lab is still being written, or was left so by a kill."""
    if os.path.exists(os.path.join(folder, STATE)):
        raise DataError(f"the work on {folder} has not ended; run the same command again, and it goes on")
