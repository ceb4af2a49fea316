"""How surprised the model was by each token of validation text.

The mean of these losses is that of llm.evaluation on the same windows: by position and by kind it is only divided up.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llm.data.lab.page.html import Html, element, join
from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from llm.report.pictures import curves
from minigrad import no_grad
from minigrad.backend import to_device
from tokenizer import BaseTokenizer

SHADED = 400  # tokens that are shown
HIGHEST = 10.0  # nats: the strongest colour


@dataclass(frozen=True)
class TokenLosses:
    """For each window and position (rows, T): the token that came, its loss in nats, and what was likelier."""

    targets: np.ndarray
    losses: np.ndarray
    likeliest: np.ndarray  # ids
    probability: np.ndarray  # of the likeliest


def measure(model: GPT, inputs: np.ndarray, targets: np.ndarray) -> TokenLosses:
    """`inputs` and `targets`: windows of ids (rows, T). One row at a time: logits are large."""
    losses, likeliest, probability = [], [], []
    with no_grad(), no_dropout(model):
        for ids, wanted in zip(inputs, targets):
            logits = to_device(model(ids[None]).data, "cpu")[0].astype(np.float64)  # (T, V)
            logits -= logits.max(axis=1, keepdims=True)
            total = np.log(np.exp(logits).sum(axis=1))  # (T,)
            losses.append(total - logits[np.arange(len(wanted)), wanted])
            likeliest.append(logits.argmax(axis=1))
            probability.append(np.exp(-total))  # the largest logit is 0 now
    return TokenLosses(targets, np.stack(losses), np.stack(likeliest), np.stack(probability))


def by_position(found: TokenLosses) -> np.ndarray:
    """The mean loss at each position (T,)."""
    return found.losses.mean(axis=0)


def by_kind(found: TokenLosses, text_of: Callable[[int], str]) -> dict[str, tuple[float, int]]:
    """The mean loss of each kind of token, and how many there are of it."""
    kinds = np.array([kind_of(text_of(int(i))) for i in found.targets.ravel()])
    losses = found.losses.ravel()
    return {
        kind: (float(losses[kinds == kind].mean()), int((kinds == kind).sum())) for kind in sorted({*kinds.tolist()})
    }


def kind_of(text: str) -> str:
    """By its first character that is no white space."""
    if not text.strip():
        return "white space"
    first = text.strip()[0]
    if first.isdigit():
        return "number"
    if first.isalpha():
        return "beginning of a word" if text[0].isspace() else "word or part of one"
    return "punctuation" if unicodedata.category(first)[0] == "P" else "other sign"


def show(found: TokenLosses, tokenizer: BaseTokenizer) -> Html:
    text_of = lambda i: tokenizer.decode([i])
    shown = zip(
        *(a.ravel()[:SHADED].tolist() for a in (found.targets, found.losses, found.likeliest, found.probability))
    )
    shaded = [_token(text_of(i), loss, text_of(best), p) for i, loss, best, p in shown]
    rows = [
        element("tr", element("th", kind), element("td", f"{loss:.2f}"), element("td", f"{count:,}"))
        for kind, (loss, count) in by_kind(found, text_of).items()
    ]
    head = element("thead", element("tr", *(element("th", x) for x in ("kind of token", "mean loss", "tokens"))))
    positions = curves("mean loss by position in the window", {"loss": [*enumerate(by_position(found).tolist())]})
    return element(
        "section",
        element("h2", "Token by token"),
        element("p", f"Validation text, mean loss {found.losses.mean():.4f} nats. The darker, the more surprising; "
                "point at a token to see what the model would have said.", class_="about"),
        element("blockquote", element("p", *shaded)),
        element("div", positions, element("div", element("table", head, element("tbody", *rows)), class_="card"),
                class_="cards"),
    )  # fmt: skip


def _token(text: str, loss: float, likeliest: str, probability: float) -> Html:
    said = f"loss {loss:.2f}; likeliest: {likeliest!r} ({probability:.0%})"
    strength = min(1.0, loss / HIGHEST)
    return join(element("span", text, title=said, style=f"background: rgb(217 98 43 / {strength:.2f})"))
