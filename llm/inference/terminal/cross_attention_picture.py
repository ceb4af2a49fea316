"""A picture of where the decoder looks in the source while it writes the translation."""

from __future__ import annotations

from pathlib import Path

from llm.inference.terminal.attention_picture import DOTS, shortened
from llm.inference.terminal.token_output import quoted
from llm.inference.translation import beam_translation, cross_weights, end_id, source_ids
from llm.model.transformer import Transformer
from llm.runs.figures import new_figure, save_figure
from tokenizer import BaseTokenizer

SIDE = 0.1  # inches of a weight
MARGIN = 0.7  # for names, in inches
SMALLEST, LARGEST = 1.0, 6.0  # of one picture, in inches


def draw_cross_attention(model: Transformer, tokenizer: BaseTokenizer, text: str, path: Path) -> None:
    """Draw the weights for a text and its translation, for each layer and head. Row: what is written; column: where the
    decoder looks before it writes that.
    """
    end = end_id(tokenizer)
    source = source_ids(tokenizer, text, model.context)
    target = beam_translation(model, source, end)
    columns, rows = ([label(id, end, tokenizer) for id in ids] for ids in (source, [*target, end]))
    weights = cross_weights(model, source, [end, *target][: model.context])  # (H, T, S) for each layer
    width, height = (min(max(SIDE * len(names), SMALLEST), LARGEST) for names in (columns, rows))
    layers, heads = len(weights), len(weights[0])
    figure = new_figure(MARGIN + (width + 0.1) * heads, MARGIN + (height + 0.3) * layers, layout="constrained")
    axes = figure.subplots(layers, heads, squeeze=False, sharex=True, sharey=True)
    for layer, of_heads in enumerate(weights):
        for head, (axis, weight) in enumerate(zip(axes[layer], of_heads)):
            axis.imshow(weight, vmin=0, vmax=1, cmap="Blues", interpolation="nearest", aspect="auto")
            axis.set_title(f"layer {layer}, head {head}", fontsize=6, pad=2)
            axis.set_xticks(range(len(columns)), columns, fontsize=5, rotation=90)
            axis.set_yticks(range(len(weight)), rows[: len(weight)], fontsize=5)
            axis.tick_params(length=0, pad=1)
    figure.suptitle("each row is a token that is written; dark: the source tokens that it looks at", fontsize=7)
    save_figure(figure, path, dpi=DOTS, format=path.suffix[1:].lower())


def label(id: int, end: int, tokenizer: BaseTokenizer) -> str:
    return "end" if id == end else shortened(quoted(id, tokenizer)[1:-1].replace(" ", "\N{OPEN BOX}"))
