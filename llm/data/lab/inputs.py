"""The files that a command of the lab reads. Work that was killed goes on only if they are as they were."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

from llm.data.errors import DataError
from llm.data.names import files_of
from llm.data.streams import STANDARD_INPUT

MEGABYTE = 1 << 20  # the unit of options such as --longest and --shard


def is_size(megabytes: float) -> bool:
    """Whether an option is a number of megabytes above 0. NaN is not, nor infinity."""
    return 0 < megabytes < math.inf


def bytes_of(megabytes: float) -> int:
    """At least one."""
    return max(1, round(megabytes * MEGABYTE))


def input_files(inputs: Sequence[str], out: Path) -> list[str]:
    """The paths of all files. Raises DataError if the output would be among them when the work goes on."""
    for name in inputs:
        folder = Path(name).expanduser()
        if folder.is_dir() and folder.resolve() in (out.resolve(), *out.resolve().parents):
            raise DataError(f"--out {out} is in the input {name}; give a folder that is not in it")
    files = list(files_of(inputs))
    if inside := next((path for path in files if out.resolve() in Path(path).resolve().parents), None):
        raise DataError(f"the input {inside} is in --out {out} itself; give another --out")
    return files


def fingerprint(files: Sequence[str]) -> str:
    """A hash of the names, sizes and dates of files: work goes on only if they are as they were."""
    digest = hashlib.sha256()
    for path in files:
        facts = None
        if path != STANDARD_INPUT and os.path.isfile(path):
            status = os.stat(path)
            facts = (status.st_size, status.st_mtime_ns)
        digest.update(repr((path, facts)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
