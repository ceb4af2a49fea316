"""python -m llm.report RUN [--against RUN] -o report.html"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from llm.data.lab.page.html import Html, element
from llm.data.lab.page.style import STYLE
from llm.model.gpt import GPT
from llm.parallel.blas import fitting_blas_threads
from llm.report import attention, curves, facts, lens, tokens, vectors
from llm.runs.commands import run as run_program
from llm.runs.load import load_model
from llm.runs.metrics import read_metrics
from llm.runs.options import Options
from llm.runs.parsing import DEFAULT_IN_TEXT, read_options
from llm.runs.presets import presets
from llm.runs.run import METRICS, Run
from llm.training.text import TextTask
from tokenizer import BaseTokenizer
from tokenizer.formats.atomic import write_file

PROGRAM = "python -m llm.report"
ROWS = 16  # windows of validation text that are read token by token
MORE_STYLE = Html("""
.run0 { stroke: var(--kept); background: var(--kept); } .run1 { stroke: var(--dropped); background: var(--dropped); }
.run2 { stroke: #8a63b8; background: #8a63b8; } .run3 { stroke: #3f9a68; background: #3f9a68; }
.heads { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; }
.heads figure { margin: 0; } figcaption { font-size: 12px; color: var(--quiet); }
.pixels { width: 100%; image-rendering: pixelated; background: #fff; border: 1px solid var(--line); }
.scroll { overflow-x: auto; } td.right { font-weight: 700; color: var(--kept); } code { overflow-wrap: anywhere; }
""")


@dataclass(frozen=True)
class Report:
    """One HTML file about a run: python -m llm.report runs/default-1 -o report.html"""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run. It may still be in training: its newest checkpoint is looked at."""
    against: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """Another run. Its curves and figures stand beside those of the first one."""
    out: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "report.html"
    """The file to write."""

    def start(self) -> None:
        runs = [Run(path) for path in (self.path, self.against) if path is not None]
        write_file(Path(self.out), page(runs))
        print(self.out)


def main(arguments: list[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    return run_program(PROGRAM, lambda: read_options(Report, words, program=PROGRAM).start())


def page(runs: list[Run]) -> str:
    """The whole file. The first run is looked into; the others are compared with it."""
    names = [run.folder.name if len({r.folder.name for r in runs}) == len(runs) else str(run) for run in runs]
    model, tokenizer = load_model(runs[0])
    lines = {name: read_metrics(run.folder / METRICS) for name, run in zip(names, runs)}
    options = {name: run.options() for name, run in zip(names, runs)}
    sizes = [model.num_parameters(), *(load_model(run)[0].num_parameters() for run in runs[1:])]
    found = {name: facts.facts(options[name], lines[name], size) for name, size in zip(names, sizes)}
    versions = f"NumPy {np.__version__}, Python {platform.python_version()}, {platform.platform()}"
    parts = [
        element("h1", " and ".join(names)),
        facts.show(found, {name: command(each) for name, each in options.items()}, versions),
        curves.show(lines),
        *inside(model, tokenizer, options[names[0]], runs[0]),
    ]
    head = element("meta", charset="utf-8"), element("meta", name="viewport", content="width=device-width"), STYLE
    title, style = element("title", " and ".join(names)), element("style", STYLE, MORE_STYLE)
    html = element(
        "html", element("head", *head[:2], title, style), element("body", element("main", *parts)), lang="en"
    )
    return f"<!doctype html>\n{html}\n"


def command(options: Options) -> str:
    known = presets()
    return " ".join(facts.changed_options(options, known.get(options.training.preset, known["default"])))


def inside(model: GPT, tokenizer: BaseTokenizer, options: Options, run: Run) -> Iterator[Html]:
    """The chapters for which the model reads its validation text."""
    if options.training.objective != "text":
        yield element(
            "p", f"The inside of a run of --objective {options.training.objective} is not shown.", class_="note"
        )
        return
    inputs, targets = validation_windows(options, run, model)
    with fitting_blas_threads(model.num_parameters()):
        yield tokens.show(tokens.measure(model, inputs, targets), tokenizer)
        yield attention.show(model, inputs[0])
        yield lens.show(model, inputs[0], tokenizer)
        yield vectors.show(model, targets.ravel(), tokenizer)


def validation_windows(options: Options, run: Run, model: GPT) -> tuple[np.ndarray, np.ndarray]:
    """The first windows (rows, T) of what the run is evaluated on: inputs and targets."""
    with _quiet():
        validation: Any = TextTask(options, run).parts(model).validation
    inputs, targets = (np.concatenate(arrays) for arrays in zip(*validation.batches))
    return inputs[:ROWS], targets[:ROWS]


@contextmanager
def _quiet() -> Iterator[None]:
    with redirect_stdout(StringIO()):  # what train.py would say about the text
        yield
