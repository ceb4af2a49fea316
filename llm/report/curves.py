"""What a run did over its steps: losses, learning rate, norm of the gradient, speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm.data.lab.page.html import Html, element
from llm.report.pictures import Curve, curves

Lines = Sequence[Mapping[str, Any]]  # of metrics.jsonl
PICTURES = {"learning rate": "lr", "norm of the gradient": "grad_norm", "tokens per second": "tokens_per_second"}


def curve(lines: Lines, name: str, over: str = "step") -> Curve:
    """(step or seconds, value) of each line that has a value."""
    return [(line[over], line[name]) for line in lines if line.get(name) is not None and line.get(over) is not None]


def show(runs: Mapping[str, Lines]) -> Html:
    """`runs`: one run, or two, by name."""
    kinds = {"training": "train_loss", "validation": "val_loss"}

    def losses(over: str) -> dict[str, Curve]:
        return {
            f"{name}, {kind}": curve(lines, key, over) for name, lines in runs.items() for kind, key in kinds.items()
        }

    pictures = [curves("loss over steps", losses("step")), curves("loss over seconds of training", losses("elapsed"))]
    pictures += [curves(title, {run: curve(x, name) for run, x in runs.items()}) for title, name in PICTURES.items()]
    return element("section", element("h2", "Curves"), element("div", *pictures, class_="cards"))
