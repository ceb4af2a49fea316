"""Norms by layer over the steps, from layers.jsonl: of the weights, of the gradient, and of the updates.

The last picture is the norm of the update divided by that of the weights: how far a step moves a layer, as a part of
its length. About a thousandth is usual in the middle of a training with AdamW (Karpathy 2022, "Building makemore part
3"). The update of a large matrix is estimated from some of its rows (llm/training/records.py).
"""

from __future__ import annotations

from llm.data.lab.page.html import Html, element
from llm.report.opened import Lines, Opened
from llm.report.pictures import Curve, curves

KINDS = {"weight": "norm of the weights", "gradient": "norm of the gradient", "update": "norm of the update"}


def norms(lines: Lines, kind: str) -> dict[str, Curve]:
    """For each layer the norm at each evaluation, (step, norm). One that was not finite is null, and left out."""
    return {
        layer: [(line["step"], x) for line in lines if (x := line["norms"].get(layer, {}).get(kind)) is not None]
        for layer in layer_names(lines)
    }


def relative_updates(lines: Lines) -> dict[str, Curve]:
    """For each layer the norm of the update as a part of the norm of the weights."""
    weights = {layer: dict(curve) for layer, curve in norms(lines, "weight").items()}
    return {
        layer: [(step, x / w) for step, x in curve if (w := weights[layer].get(step))]
        for layer, curve in norms(lines, "update").items()
    }


def layer_names(lines: Lines) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line["norms"]))


def show(run: Opened) -> Html | None:
    pictures = [curves(title, norms(run.layers, kind), log=True) for kind, title in KINDS.items()]
    pictures.append(curves("norm of the update / norm of the weights", relative_updates(run.layers), log=True))
    if not any(pictures):
        return None
    about = "Over the steps, of all parameters of a layer together. The gradient is that before clipping."
    return element("div", element("p", about, class_="about"), element("div", *pictures, class_="cards"))
