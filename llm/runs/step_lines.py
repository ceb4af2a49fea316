"""Files of a run with one JSON object in a line, each with the number of a step: metrics.jsonl, samples.jsonl ...

When a run is resumed, the steps after its newest checkpoint are done again, and get new lines. So lines of these steps
are dropped first. A kill may also have left half a line: it is left out when the file is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from llm.runs.errors import RunError
from llm.runs.files import open_regular
from tokenizer.formats.atomic import new_file

LONGEST_LINE = 1 << 16  # bytes: a line of metrics.jsonl has about 200


class StepLines:
    """Such a file, to append to. Without lines, there is no file."""

    def __init__(self, path: Path, steps: int, keys: Collection[str] = ()):
        """Keep the lines of the first `steps` steps that have all of these keys. All other lines are dropped."""
        self.path = path
        self._file: TextIOWrapper | None = None
        self.unreadable = 0  # how many lines are damaged, or lack a key
        if path.exists():
            found = 0
            # Line by line: the lines of a long run take much memory.
            with new_file(path) as partial, open(partial, "w", encoding="utf-8") as file:
                for line in iterate_lines(path, keys):
                    found += 1
                    if line["step"] <= steps:
                        file.write(json.dumps(line) + "\n")
                self.unreadable = max(0, _count_lines(path) - found)

    def write(self, line: dict[str, Any]) -> None:
        if self._file is None:
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115  until `close`
        self._file.write(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Force all lines to the disk. Call this before a checkpoint is saved, so that its steps have their lines."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def iterate_lines(path: Path, keys: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """The lines that are complete and have a step and all of these keys; none if there is no such file.

    Raises RunError when it is no file, or cannot be read.
    """
    wanted = {"step", *keys}
    try:
        with open_regular(path) as file:
            # A longer line is read in parts. No part is valid JSON, so it is left out.
            while text := file.readline(LONGEST_LINE):
                if not text.startswith(b"{"):
                    continue
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):  # RecursionError: a thousand brackets inside each other
                    continue
                if isinstance(line, dict) and wanted <= line.keys() and type(line["step"]) is int:
                    yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); delete it, or put the right one back") from None


def _count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
