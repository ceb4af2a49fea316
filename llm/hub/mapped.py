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
