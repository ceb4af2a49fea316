"""With what a run was made: config.json keeps it."""

from __future__ import annotations

import os
import platform
import sys

import numpy as np


def versions() -> dict[str, str]:
    """Names and versions of Python, NumPy, CuPy if it is in use, the system, and the number of cores."""
    found = {"Python": platform.python_version(), "NumPy": np.__version__}
    if "cupy" in sys.modules:
        found["CuPy"] = str(getattr(sys.modules["cupy"], "__version__", ""))
    return found | {"system": platform.platform(), "cores": str(os.cpu_count())}
