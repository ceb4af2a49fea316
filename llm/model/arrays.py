"""Arrays from a safetensors file, also where memory is short."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOM = 1 << 20  # bytes, for what reading needs besides the arrays


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in the file by name. Raises MemoryError, OSError or SafetensorError."""
    # With too little memory, the library (written in Rust) panics: it prints lines that help nobody, and raises an
    # exception that `except Exception` does not catch. So first request as much memory as it will need, for the file,
    # which is mapped, and for the arrays. NumPy raises MemoryError if there is less; otherwise it is freed at once.
    np.empty(2 * path.stat().st_size + ROOM, np.uint8)
    try:
        return load_file(path)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise MemoryError(f"{path} could not be read: {error}") from None
