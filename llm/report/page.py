"""The page: its chapters one below the other, and in each of them the runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from llm.data.lab.page.html import Html, document, element, join
from llm.data.lab.page.style import STYLE
from llm.parallel.blas import fitting_blas_threads
from llm.report import attention, curves, facts, layers, lens, samples, tokens, units, vectors
from llm.report.opened import Opened
from llm.report.style import MORE_STYLE

# The page has no scripts and loads nothing. Even if a text in it were not escaped, it could not make the browser do so.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

DIVERGED = (
    "some numbers of the model are too large, or are no numbers (NaN). Its training has diverged: see the curves, and "
    "train again with a smaller --lr. The chapters about the model say little."
)

# Of one run each: the title, and what makes the rest. None: this run has no such chapter.
CHAPTERS: Mapping[str, Callable[[Opened], Html | None]] = {
    "Norms by layer": layers.show,
    "What it wrote": samples.show,
    "Token by token": tokens.show,
    "Attention": attention.show,
    "Logit lens": lens.show,
    "Units": units.show,
    "Weights": vectors.show,
}


def page(runs: Sequence[Opened]) -> str:
    """The whole file."""
    title = " and ".join(run.name for run in runs)
    diverged: set[str] = set()  # the names of runs
    below = list(chapters(runs, diverged))
    problems = [f"{run.name}: {run.problem}" for run in runs if run.problem] + [
        f"{name}: {DIVERGED}" for name in sorted(diverged)
    ]
    warnings = [element("p", problem, class_="warning") for problem in problems]
    parts = element("h1", title), facts.show(runs), *warnings, curves.show(runs), *below
    return document(title, *parts, style=join(STYLE, MORE_STYLE), policy=POLICY)


def chapters(runs: Sequence[Opened], diverged: set[str]) -> Iterator[Html]:
    for title, show in CHAPTERS.items():
        with fitting_blas_threads(max(run.model.num_parameters() for run in runs)):
            shown = {run.name: shown_or_refused(show, run, diverged) for run in runs}
        if any(html is not None for html in shown.values()):
            yield element("section", element("h2", title), side_by_side(shown))


def shown_or_refused(show: Callable[[Opened], Html | None], run: Opened, diverged: set[str]) -> Html | None:
    """A chapter, or why there is none. If numbers overflow, NumPy tells `noticed`, and the name of the run is added."""

    def noticed(kind: str, flag: int) -> None:
        diverged.add(run.name)

    try:
        with np.errstate(over="call", invalid="call", call=noticed):
            return show(run)
    except ValueError as error:  # such as a model with a prefix, the inside of which is not shown
        return element("p", str(error), class_="note")


def side_by_side(shown: Mapping[str, Html | None]) -> Html:
    if len(shown) == 1:
        return element("div", *shown.values())
    nothing = element("p", "nothing to show", class_="note")
    parts = [element("div", element("h3", name), html or nothing) for name, html in shown.items()]
    return element("div", *parts, class_="columns")
