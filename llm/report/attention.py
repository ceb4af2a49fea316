"""Where each head looks in one text, and which of the known kinds of heads it resembles (Elhage and others 2021,
transformer-circuits.pub/2021/framework; Olsson and others 2022, arXiv:2209.11895).

    previous token    the weight on the token before
    same token        the weight on earlier places with the same token
    induction         the weight on the tokens that came after such places: what followed last time
"""

from __future__ import annotations

import numpy as np

from llm.data.lab.page.html import Html, element
from llm.inference.inspection import all_attention_weights
from llm.model.gpt import GPT
from llm.report.pictures import image

MOST_TOKENS = 64


def head_scores(weights: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    """For each head the mean weight (H,), over the queries for which there is such a place. `weights`: (H, T, T)."""
    T = len(ids)
    earlier = np.tri(T, k=-1, dtype=bool)
    same = (ids[:, None] == ids[None, :]) & earlier  # (T, T): an earlier place with the same token
    after = np.zeros_like(same)
    after[:, 1:] = same[:, :-1]  # the place after it; it may be the query itself, if a token is repeated at once
    after &= np.tri(T, dtype=bool)
    places = {"previous token": np.eye(T, k=-1, dtype=bool), "same token": same, "induction": after}
    return {name: _mean_weight(weights, where) for name, where in places.items()}


def _mean_weight(weights: np.ndarray, where: np.ndarray) -> np.ndarray:
    queries = where.any(axis=1)
    if not queries.any():
        return np.full(len(weights), np.nan)
    return (weights * where).sum(axis=2)[:, queries].mean(axis=1)


def show(model: GPT, ids: np.ndarray) -> Html:
    ids = ids[:MOST_TOKENS]
    rows = []
    for layer, weights in enumerate(all_attention_weights(model, ids.tolist())):
        scores = head_scores(weights, ids)
        rows += [_head(layer, head, weights[head], scores) for head in range(len(weights))]
    about = (
        f"The first {len(ids)} tokens of validation text. Rows are the tokens that look, columns those that are looked "
        "at; the darker, the more weight. The numbers are the mean weight on the token before, on the same token "
        "earlier, and on what came after it (induction)."
    )
    heads = element("div", *rows, class_="heads")
    return element("section", element("h2", "Attention"), element("p", about, class_="about"), heads)


def _head(layer: int, head: int, weights: np.ndarray, scores: dict[str, np.ndarray]) -> Html:
    said = ", ".join(f"{name} {score[head]:.2f}" for name, score in scores.items() if np.isfinite(score[head]))
    title = f"layer {layer}, head {head}"
    return element("figure", image(weights / weights.max(), title), element("figcaption", f"{title}: {said}"))
