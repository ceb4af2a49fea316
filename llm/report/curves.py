"""What a run did over its steps: losses, learning rate, norm of the gradient, speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llm.data.lab.page.html import Html, element
from llm.report.opened import Lines, Opened
from llm.report.pictures import Curve, curves

PICTURES = {"learning rate": "lr", "norm of the gradient": "grad_norm", "tokens per second": "tokens_per_second"}
LOSSES = {"training": "train_loss", "validation": "val_loss"}


def curve(lines: Lines, name: str, over: str = "step", scale: float = 1) -> Curve:
    """(step, or another number of the line, times `scale`; value) of each line that has a value."""
    return [
        (line[over] * scale, line[name]) for line in lines if line.get(name) is not None and line.get(over) is not None
    ]


def tokens_of_a_step(run: Opened) -> int:
    """Tokens of a batch: rows of another objective than text have different numbers of tokens, and no picture."""
    return run.options.training.batch_size * run.options.context if run.options.training.objective == "text" else 0


def show(runs: Sequence[Opened]) -> Html:
    def losses(over: str, scale: Callable[[Opened], float] = lambda run: 1) -> dict[str, Curve]:
        return {
            f"{run.name}, {kind}": curve(run.metrics, key, over, scale(run))
            for run in runs
            for kind, key in LOSSES.items()
            if scale(run)
        }

    pictures = [
        curves("loss over steps", losses("step")),
        curves("loss over tokens", losses("step", tokens_of_a_step)),
        curves("loss over seconds of training", losses("elapsed")),
    ]
    for title, name in PICTURES.items():
        pictures.append(curves(title, {run.name: curve(run.metrics, name) for run in runs}))
    return element("section", element("h2", "Curves"), element("div", *pictures, class_="cards"))
