"""Arrays from a safetensors file, also where memory is short."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOM = 1 << 20  # bytes, for what reading needs besides the arrays


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in the file by name. Raises MemoryError, OSError or SafetensorError."""
    # Where memory is short, the library, which is written in Rust, panics: it prints lines that nobody understands, and
    # raises an exception that `except Exception` does not catch. So we ask for as much memory first, and give it back:
    # for the file, which is mapped, and for the arrays.
    np.empty(2 * path.stat().st_size + ROOM, np.uint8)
    try:
        return load_file(path)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise MemoryError(f"{path} could not be read: {error}") from None
