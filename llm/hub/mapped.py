"""A file as an array of bytes. It is mapped to memory: the system reads a part of it when that part is used."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from llm.hub.errors import HubError
from llm.runs.files import open_regular


def map_file(path: Path) -> np.ndarray:
    """The bytes of the file, uint8, read-only. HubError when it cannot be read."""
    try:
        with open_regular(path) as file:
            # An empty file cannot be mapped.
            empty = not file.seek(0, 2)
            content = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: the name contains a zero byte
        raise HubError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return np.frombuffer(content, np.uint8)  # the array keeps the map open


def release(array: np.ndarray) -> None:
    """Let the system take back the memory of these bytes, if they are mapped from a file. It can read them again.

    Otherwise all parts of a file that have been read count as memory of the process, beside what was made of them.
    """
    mapped: object = array
    while isinstance(mapped, (np.ndarray, memoryview)):
        mapped = mapped.base if isinstance(mapped, np.ndarray) else mapped.obj
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    begin = array.__array_interface__["data"][0] - np.frombuffer(mapped, np.uint8).__array_interface__["data"][0]
    start = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE  # whole pages only
    stop = (begin + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if start < stop and array.flags.c_contiguous:
        mapped.madvise(mmap.MADV_DONTNEED, start, stop - start)
