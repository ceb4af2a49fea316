"""Units of the feed-forward networks that do nothing, or nothing but a product, with all tokens of a text.

dead         the slope of the activation function is nearly 0 at every token: no gradient reaches its weights
saturated    the slope is nearly 1 at every token: the unit is linear, as if there were no activation function
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.data.lab.page.html import Html, element
from llm.inference.inspection import mlp_inputs
from llm.model.gpt import GPT
from llm.report.opened import Opened
from llm.report.tables import wide_table
from minigrad.fused.activation import ACTIVATIONS
from minigrad.fused.curves import curve_gradient

NEARLY = 0.02  # how far the slope may be from 0 or 1. GELU: at less than -2.8, and at more than 2.8


@dataclass(frozen=True)
class Shares:
    """Of the units of a layer."""

    units: int
    dead: float
    linear: float
    flat: float  # the share of all pairs of a unit and a token at which the slope is nearly 0


class Units:
    """The units of one layer, and what was true of them at all tokens so far."""

    def __init__(self, activation: str):
        self.activation = activation
        self.dead: Any = True  # (F,) from the first text on
        self.linear: Any = True
        self.flat = self.pairs = 0

    def read(self, inputs: np.ndarray) -> None:
        """`inputs` (T, F): what the activation function reads, for T tokens and F units."""
        x = inputs.astype(np.float64)
        slope = curve_gradient(np.ones_like(x), x, ACTIVATIONS[self.activation].curve)  # (T, F)
        flat = np.abs(slope) < NEARLY
        self.dead = self.dead & flat.all(axis=0)
        self.linear = self.linear & (np.abs(slope - 1) < NEARLY).all(axis=0)
        self.flat, self.pairs = self.flat + int(flat.sum()), self.pairs + flat.size

    def shares(self) -> Shares:
        return Shares(self.dead.size, self.dead.mean(), self.linear.mean(), self.flat / max(self.pairs, 1))


def measure(model: GPT, rows: Sequence[np.ndarray]) -> list[Shares | None]:
    """For each layer, over all rows of ids (T,). None: a layer of experts."""
    layers: list[Units | None] = [Units(model.config.mlp) for _ in model.blocks[:]]
    for ids in rows:  # one row at a time: the inputs of all layers are large
        for layer, inputs in enumerate(mlp_inputs(model, ids.tolist())):
            if inputs is None:
                layers[layer] = None
            elif (units := layers[layer]) is not None:
                units.read(inputs)
    return [None if units is None else units.shares() for units in layers]


def show(run: Opened) -> Html | None:
    if run.gpt is None or run.text is None:
        return None
    texts = list(run.text.inputs) if run.text.documents is None else [run.text.first]
    found = measure(run.gpt, texts)
    if not any(found):
        return None
    head = ("layer", "units", "dead", "linear", "slope nearly 0")
    rows = [
        (layer, f"{each.units:,}", f"{each.dead:.1%}", f"{each.linear:.1%}", f"{each.flat:.0%}")
        for layer, each in enumerate(found)
        if each is not None
    ]
    about = (
        f"Of the feed-forward networks, over {sum(map(len, texts)):,} tokens. Dead: the slope of the activation is "
        "nearly 0 at every token. Linear: it is nearly 1 at every token. The last column counts all pairs of a unit "
        "and a token."
    )
    return element("div", element("p", about, class_="about"), wide_table(head, rows))
