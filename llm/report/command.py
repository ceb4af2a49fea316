"""python -m llm.report RUN [--against RUN] -o report.html"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from llm.report.opened import open_run
from llm.report.page import page
from llm.runs.commands import run as run_program
from llm.runs.parsing import DEFAULT_IN_TEXT, read_options
from llm.runs.run import Run
from tokenizer.formats.atomic import write_file

PROGRAM = "python -m llm.report"


@dataclass(frozen=True)
class Report:
    """One HTML file about a run: python -m llm.report runs/default-1 -o report.html"""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run. It may still be in training: its newest checkpoint is looked at."""
    against: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """Another run, which is shown beside it."""
    out: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "report.html"
    """The file to write."""

    def start(self) -> None:
        if Path(self.out).suffix.lower() not in (".html", ".htm"):  # it could be a file of the run
            raise ValueError(f"-o {self.out} is no name of a page; give one that ends in .html")
        paths = [path for path in (self.path, self.against) if path is not None]
        names = [Path(path).resolve().name for path in paths]
        if len(set(names)) < len(names):  # such as a/run and b/run
            names = paths if len(set(paths)) == len(paths) else [f"{name} ({i})" for i, name in enumerate(paths, 1)]
        write_file(Path(self.out), page([open_run(Run(path), name) for path, name in zip(paths, names)]))
        print(self.out)


def main(arguments: list[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    return run_program(PROGRAM, lambda: read_options(Report, words, program=PROGRAM).start())
