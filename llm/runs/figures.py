"""What all pictures share: a figure, how it looks, and its file. matplotlib is imported when something is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizer.formats.atomic import new_file


def new_figure(width: float, height: float, **options: Any) -> Any:
    """An empty figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), **options)
    FigureCanvasAgg(figure)
    return figure


def drawable(name: str) -> str:
    """The name of a file as a title: bytes that are not UTF-8 become "?". With parse_math=False, "$" stays as it is."""
    return name.encode("utf-8", "replace").decode()


def add_grids(axes: Iterable[Any]) -> None:
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Any, path: Path, **options: Any) -> None:
    with new_file(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the font may lack a letter: a box stands in its place
        figure.savefig(partial, **options)
