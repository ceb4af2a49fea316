"""What tests of the lab share: corpora, and what is in a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

TEXT = " ".join(f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(200))


def write_corpus(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "id": i}) + "\n" for i, text in enumerate(texts)))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
