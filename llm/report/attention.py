"""Where each head looks in one text, and which of the known kinds of heads it resembles (Elhage and others 2021,
transformer-circuits.pub/2021/framework; Olsson and others 2022, arXiv:2209.11895).

    previous token    the weight on the token before
    same token        the weight on earlier places with the same token
    induction         the weight on the tokens that came after such places: what followed last time

Of a translator: where the decoder looks in the source while it writes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from llm.data.lab.page.html import Html, element
from llm.inference.inspection import all_attention_weights
from llm.inference.translation import beam_translation, cross_weights, end_id, source_ids
from llm.model.gpt import GPT
from llm.model.transformer import Transformer
from llm.report.opened import Opened
from llm.report.pictures import image

MOST_TOKENS = 64
MOST_HEADS = 256  # that are shown: a page stays below 5 MB


def head_scores(weights: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    """For each head the mean weight (H,), over the queries for which there is such a place. `weights`: (H, T, T)."""
    T = len(ids)
    earlier = np.tri(T, k=-1, dtype=bool)
    same = (ids[:, None] == ids[None, :]) & earlier  # (T, T): an earlier place with the same token
    after = np.zeros_like(same)
    after[:, 1:] = same[:, :-1]  # the place after it; it may be the query itself, if a token is repeated at once
    places = {"previous token": np.eye(T, k=-1, dtype=bool), "same token": same, "induction": after}
    return {name: _mean_weight(weights, where) for name, where in places.items()}


def _mean_weight(weights: np.ndarray, where: np.ndarray) -> np.ndarray:
    queries = where.any(axis=1)
    if not queries.any():
        return np.full(len(weights), np.nan)
    return (weights * where).sum(axis=2)[:, queries].mean(axis=1)


def show(run: Opened) -> Html | None:
    if isinstance(run.model, Transformer):
        return _of_translator(run.model, run)
    if run.gpt is None or run.text is None or len(run.text.first) < 2:
        return None
    return _of_text(run.gpt, run.text.first[:MOST_TOKENS], run.text.about)


def _of_text(model: GPT, ids: np.ndarray, text: str) -> Html:
    figures: list[Html] = []
    for layer, weights in enumerate(all_attention_weights(model, ids.tolist())):
        scores = head_scores(weights, ids)
        figures += [_head(layer, head, weights[head], scores) for head in range(len(weights))]
        if len(figures) > MOST_HEADS:
            break
    about = (
        f"{text}, the first {len(ids)} tokens. Rows are the tokens that look, columns those that are looked at; the "
        "darker, the more weight. The numbers are the mean weight on the token before, on the same token earlier, and "
        "on what came after it (induction)."
    )
    return _heads(figures, about)


def _heads(figures: list[Html], about: str) -> Html:
    note = f" The first {MOST_HEADS} heads are shown." if len(figures) > MOST_HEADS else ""
    return element(
        "div", element("p", about + note, class_="about"), element("div", *figures[:MOST_HEADS], class_="heads")
    )


def _head(layer: int, head: int, weights: np.ndarray, scores: dict[str, np.ndarray]) -> Html:
    said = ", ".join(f"{name} {score[head]:.2f}" for name, score in scores.items() if np.isfinite(score[head]))
    return _figure(f"layer {layer}, head {head}", weights, said)


def _figure(title: str, weights: np.ndarray, said: str = "") -> Html:
    return element(
        "figure", image(weights / weights.max(), title), element("figcaption", f"{title}: {said}" if said else title)
    )


def _of_translator(model: Transformer, run: Opened) -> Html | None:
    source, tokenizer = first_source(run.samples), run.tokenizer
    if not source:
        return None
    end = end_id(tokenizer)
    ids = source_ids(tokenizer, source, model.context)
    target = beam_translation(model, ids, end)
    weights: Iterable[np.ndarray] = cross_weights(model, ids, [end, *target][: model.context])  # (H, T, S) each
    figures = [
        _figure(f"layer {layer}, head {head}", of_head)
        for layer, of_layer in enumerate(weights)
        for head, of_head in enumerate(of_layer)
    ]
    about = (
        f"{source} -> {tokenizer.decode(target)}. Rows are the tokens that are written, columns those of the source "
        "that the decoder looks at; the darker, the more weight."
    )
    return _heads(figures, about)


def first_source(samples: Iterable) -> str:
    """What was translated in the newest sample, the first line of which is "SOURCE -> TARGET"."""
    texts = [str(line["text"]) for line in samples]
    return texts[-1].split("\n")[0].partition(" -> ")[0] if texts else ""
