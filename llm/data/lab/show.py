"""The command `python -m llm.data show`: one HTML page about what `clean` and `dedup` have dropped, and why.

The page is one file without scripts, which needs nothing from the network. It can be read on a phone and printed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from llm.data.errors import DataError
from llm.data.lab.page.findings import Findings, collect
from llm.data.lab.page.sections import page
from llm.runs.files import make_folder, prepare_file
from llm.runs.parsing import DEFAULT_IN_TEXT
from tokenizer.formats.atomic import write_file


@dataclass(frozen=True)
class Show:
    """Write one HTML page about what was dropped, and why."""

    folders: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER ...", help_behavior_hint="")
    ]
    """Folders that clean or dedup have written, in the order of the work."""
    out: Annotated[Path | None, DEFAULT_IN_TEXT] = None
    """The file to write. Default: show.html in the last folder."""

    def __post_init__(self) -> None:
        if not self.folders:
            raise ValueError("give a folder that clean or dedup has written")

    def start(self) -> None:
        out = self.out or self.folders[-1] / "show.html"
        make_folder(out.parent)
        prepare_file(out)
        write_file(out, page([self._collect(folder) for folder in self.folders]).encode())
        print(f"written: {out}")

    def _collect(self, folder: Path) -> Findings:
        total = sum(path.stat().st_size for path in folder.glob("*-*.jsonl"))
        with tqdm(total=total, desc=str(folder), unit="B", unit_scale=True, disable=None, file=sys.stderr) as bar:
            try:
                return collect(folder, bar.update)
            except (KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{folder / 'report.json'} is not as clean or dedup writes it ({error!r})") from error
