"""The inside of the model for people: a table of what each layer would say, and a picture of where each head looks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llm.inference.inspection import all_attention_weights, logit_lens
from llm.inference.logprobs import log_probabilities, most_likely
from llm.inference.terminal.token_output import with_probabilities
from llm.model.gpt import GPT
from tokenizer import BaseTokenizer
from tokenizer.formats.atomic import new_file

SHOWN = 4  # tokens for each layer
MOST_PIXELS = 128  # of a square, in each direction


def lens_table(model: GPT, tokenizer: BaseTokenizer, ids: Sequence[int]) -> str:
    """A line for the embedding and each layer: the tokens that it would say after `ids`."""
    answers = [most_likely(log_probabilities(logits), SHOWN) for logits in logit_lens(model, ids)]
    names = ["embedding", *(f"layer {number}" for number in range(len(answers) - 1))]
    lines = [f"{name:10}{with_probabilities(answer, tokenizer)}" for name, answer in zip(names, answers)]
    return "\n".join(["what each layer would say next; the last one is the answer of the model", *lines, ""])


def draw_attention(model: GPT, ids: Sequence[int], path: Path) -> None:
    """Draw the attention weights of a text: a square for each layer and head. Row: the token that looks; column: where.

    The format is that of the file's name: .png, .pdf or .svg.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layers, heads = model.config.layers, model.config.heads
    figure = Figure(figsize=(0.9 * heads + 1, 0.9 * layers + 1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(layers, heads, squeeze=False)
    for layer, weights in enumerate(all_attention_weights(model, ids)):
        for head, square in enumerate(weights):
            draw_square(axes[layer, head], square, layer, head)
    figure.suptitle(f"attention between {len(ids)} tokens: each row looks at earlier columns", fontsize=8)
    with new_file(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure.savefig(partial, dpi=120, format=path.suffix[1:].lower())


def draw_square(axis: Any, square: np.ndarray, layer: int, head: int) -> None:
    """The weights (T, T) of one head, named if it is at the upper or the left edge of the picture."""
    # The square root, because most weights are small.
    axis.imshow(np.sqrt(smaller(square)), vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    if layer == 0:
        axis.set_title(f"head {head}", fontsize=7)
    if head == 0:
        axis.set_ylabel(f"layer {layer}", fontsize=7)


def smaller(square: np.ndarray) -> np.ndarray:
    """Weights (T, T) with at most MOST_PIXELS rows and columns, each the largest of its weights."""
    T = len(square)
    size = -(-T // MOST_PIXELS)  # tokens for each pixel
    padded = np.pad(square, (0, -T % size))
    return padded.reshape(len(padded) // size, size, -1, size).max(axis=(1, 3))
