"""The weights themselves: their sizes by layer, and the embeddings in two dimensions."""

from __future__ import annotations

import numpy as np

from llm.data.lab.page.html import Html, element
from llm.model.gpt import GPT
from llm.report.lens import shown
from llm.report.opened import Opened
from llm.report.tables import wide_table
from llm.training.records import layer_of
from minigrad.backend import to_device
from minigrad.nn import Module
from tokenizer import BaseTokenizer

SHOWN = 120  # tokens: the most frequent ones of the text
WIDTH, HEIGHT = 1000, 560


def weight_sizes(model: Module) -> dict[str, dict[str, float]]:
    """By layer (blocks.0, embedding ...) and the rest of the name: the root of the mean square of each matrix."""
    found: dict[str, dict[str, float]] = {}
    for name, p in model.named_parameters():
        if p.ndim >= 2:
            layer = layer_of(name)
            rest = name.removeprefix("model.").removeprefix(layer + ".")
            values = to_device(p.data, "cpu").astype(np.float64)
            found.setdefault(layer, {})[rest] = float(np.sqrt((values**2).mean()))
    return found


def principal_components(vectors: np.ndarray) -> np.ndarray:
    """The vectors (N, C) in two dimensions (N, 2): those along which they differ most (PCA)."""
    centred = vectors - vectors.mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    flip = np.sign(vt[np.arange(len(vt)), np.abs(vt).argmax(axis=1)])  # a fixed choice of the sign
    return (u * s * flip)[:, :2]


def show(run: Opened) -> Html:
    sizes = weight_sizes(run.model)
    columns = list(dict.fromkeys(rest for of in sizes.values() for rest in of))
    head = ["layer", *(name.removesuffix(".weight") for name in columns)]
    rows = [[layer, *(f"{of[c]:.3f}" if c in of else "" for c in columns)] for layer, of in sizes.items()]
    about = "The root of the mean square of each matrix, by layer."
    picture = None
    if run.gpt is not None and run.text is not None:
        ids = run.text.inputs if run.text.documents is None else run.text.inputs[run.text.documents >= 0]
        picture = _embedding(run.gpt, ids.ravel(), run.tokenizer)
    return element("div", element("p", about, class_="about"), wide_table(head, rows), picture)


def _embedding(model: GPT, ids: np.ndarray, tokenizer: BaseTokenizer) -> Html:
    tokens, counts = np.unique(ids, return_counts=True)
    tokens = tokens[np.argsort(-counts, kind="stable")][:SHOWN]
    vectors = to_device(model.embedding.weight.data, "cpu")[tokens].astype(np.float64)
    if not np.isfinite(vectors).all():
        return element("p", "No picture of the embeddings: some of their numbers are not finite.", class_="note")
    places = principal_components(vectors) if len(tokens) > 2 else np.zeros((len(tokens), 2))
    low, high = places.min(axis=0), places.max(axis=0)
    shares = (places - low) / np.where(high > low, high - low, 1)
    parts = [
        element("text", shown(tokenizer, i), x=f"{30 + x * (WIDTH - 90):.0f}",
                y=f"{20 + y * (HEIGHT - 40):.0f}")
        for i, (x, y) in zip(tokens, shares)
    ]  # fmt: skip
    about = f"Embeddings of the {len(tokens)} most frequent tokens, in the two directions in which they differ most."
    picture = element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=about, class_="wide")
    return element("figure", picture, element("figcaption", about))
