"""A picture of where each head of each layer looks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llm.inference.inspection import all_attention_weights
from llm.inference.terminal.token_output import quoted
from llm.model.gpt import GPT
from llm.runs.figures import new_figure, save_figure
from tokenizer import BaseTokenizer

MOST_PIXELS = 128  # of a square, in each direction
MOST_LABELS = 20  # tokens that are named beside a square; of a longer text, only some are
LONGEST_LABEL = 12  # characters
DOTS = 120  # for each inch
# Inches. A square is as large as its labels need, and has at least a dot for each of its pixels.
SIDE_OF_LABEL, SMALLEST_SIDE, LARGEST_SIDE = 0.085, 0.9, 1.7
LEFT, TOP, BOTTOM, GAP = 0.95, 0.45, 0.75, 0.1


def draw_attention(model: GPT, tokenizer: BaseTokenizer, ids: Sequence[int], path: Path) -> None:
    """Draw the attention weights of a text: a square for each layer and head. Row: the token that looks; column: where.

    The format is that of the file's name: .png, .pdf or .svg.
    """
    layers, heads = model.config.layers, model.config.heads
    side = min(max(SMALLEST_SIDE, SIDE_OF_LABEL * len(ids)), LARGEST_SIDE)
    width, height = LEFT + (side + GAP) * heads, TOP + (side + GAP) * layers + BOTTOM
    figure = new_figure(width, height)
    # The margins are given: to find them out (layout="constrained") takes longer than all the rest.
    margins = {"left": LEFT / width, "right": 1 - GAP / width, "bottom": BOTTOM / height, "top": 1 - TOP / height}
    spaces = {"wspace": GAP / side, "hspace": GAP / side}
    axes = figure.subplots(layers, heads, squeeze=False, gridspec_kw=margins | spaces)
    for layer, weights in enumerate(all_attention_weights(model, ids)):
        for head, square in enumerate(weights):
            draw_square(axes[layer, head], square)
    name_heads_and_layers(axes)
    name_tokens(axes, [quoted(id, tokenizer) for id in ids])
    title = f"attention between {len(ids)} tokens: each row is a token that looks at the tokens of the columns"
    figure.suptitle(title, fontsize=8, y=1 - 0.1 / height)
    save_figure(figure, path, dpi=DOTS, format=path.suffix[1:].lower())


def draw_square(axis: Any, square: np.ndarray) -> None:
    """The weights (T, T) of one head."""
    T, pixels = len(square), smaller(square)
    end = -(-T // len(pixels)) * len(pixels) - 0.5  # one unit for each token, also where pixels are fewer
    # The square root, because most weights are small.
    axis.imshow(np.sqrt(pixels), vmin=0, vmax=1, cmap="Blues", interpolation="nearest", extent=(-0.5, end, end, -0.5))
    axis.set(xlim=(-0.5, T - 0.5), ylim=(T - 0.5, -0.5), xticks=[], yticks=[])
    axis.spines[:].set(linewidth=0.4, color="grey")  # a thick one would hide the first column


def name_heads_and_layers(axes: np.ndarray) -> None:
    for head, axis in enumerate(axes[0]):
        axis.set_title(f"head {head}", fontsize=7)
    for layer, axis in enumerate(axes[:, 0]):
        axis.set_ylabel(f"layer {layer}", fontsize=7)


def name_tokens(axes: np.ndarray, names: Sequence[str]) -> None:
    """Beside the squares on the left, and below those at the bottom."""
    places = range(0, len(names), -(-len(names) // MOST_LABELS))
    labels = [shortened(names[place]) for place in places]
    for axis in axes[:, 0]:
        axis.set_yticks(places, labels, fontsize=5)
    for axis in axes[-1]:
        axis.set_xticks(places, labels, fontsize=5, rotation=90)
    for axis in axes.flat:
        axis.tick_params(length=0, pad=1)


def shortened(name: str) -> str:
    """A label, in which $ does not begin a formula."""
    return (name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…").replace("$", r"\$")


def smaller(square: np.ndarray) -> np.ndarray:
    """Weights (T, T) with at most MOST_PIXELS rows and columns, each the largest of its weights."""
    T = len(square)
    size = -(-T // MOST_PIXELS)  # tokens for each pixel
    padded = np.pad(square, (0, -T % size))
    return padded.reshape(len(padded) // size, size, -1, size).max(axis=(1, 3))
