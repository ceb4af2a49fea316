"""How surprised the model was by each token of a text.

The mean of these losses is that of llm.evaluation on the same windows: by position and by kind it is only divided up.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llm.data.lab.page.html import Html, element
from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from llm.report.opened import NOT_LEARNED, Opened, Text, token_text
from llm.report.pictures import curves
from llm.report.tables import table
from minigrad import no_grad
from minigrad.backend import to_device
from tokenizer import BaseTokenizer

SHADED = 400  # tokens that are shown
HIGHEST = 10.0  # nats: the strongest colour


@dataclass(frozen=True)
class TokenLosses:
    """For each window and position (rows, T): the token that came, its loss in nats, and what was likelier."""

    targets: np.ndarray
    losses: np.ndarray  # NaN where the target is NOT_LEARNED
    likeliest: np.ndarray  # ids
    probability: np.ndarray  # of the likeliest

    @property
    def learned(self) -> np.ndarray:
        return self.targets != NOT_LEARNED

    @property
    def mean(self) -> float:
        return float(self.losses[self.learned].mean()) if self.learned.any() else float("nan")


def measure(model: GPT, text: Text) -> TokenLosses:
    """One row at a time: logits are large."""
    losses, likeliest, probability = [], [], []
    with no_grad(), no_dropout(model):
        for row, (ids, wanted) in enumerate(zip(text.inputs, text.targets)):
            documents = None if text.documents is None else text.documents[row : row + 1]
            logits = to_device(model(ids[None], documents=documents).data, "cpu")[0].astype(np.float64)  # (T, V)
            logits -= logits.max(axis=1, keepdims=True)
            total = np.log(np.exp(logits).sum(axis=1))  # (T,)
            of_target = logits[np.arange(len(wanted)), np.maximum(wanted, 0)]
            losses.append(np.where(wanted == NOT_LEARNED, np.nan, total - of_target))
            likeliest.append(logits.argmax(axis=1))
            probability.append(np.exp(-total))  # the largest logit is 0 now
    return TokenLosses(text.targets, np.stack(losses), np.stack(likeliest), np.stack(probability))


def by_position(found: TokenLosses) -> np.ndarray:
    """The mean loss at each position (T,); NaN where no row has a token that counts."""
    counts = found.learned.sum(axis=0)
    return np.where(counts > 0, np.nansum(found.losses, axis=0) / np.maximum(counts, 1), np.nan)


def by_kind(found: TokenLosses, text_of: Callable[[int], str]) -> dict[str, tuple[float, int]]:
    """The mean loss of each kind of token, and how many there are of it."""
    kinds = np.array([kind_of(text_of(int(i))) for i in found.targets[found.learned]])
    losses = found.losses[found.learned]
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


def show(run: Opened) -> Html | None:
    if run.gpt is None or run.text is None:
        return None
    found, text_of = measure(run.gpt, run.text), lambda i: token_text(run.tokenizer, i)
    about = (
        f"{run.text.about}, mean loss {found.mean:.4f} nats. The darker, the more surprising; point at a token to see "
        "what the model would have said."
    )
    positions = curves("mean loss by position in the window", {run.name: [*enumerate(by_position(found).tolist())]})
    return element(
        "div",
        element("p", about, class_="about"),
        element("blockquote", element("p", *shaded(found, run.text, run.tokenizer))),
        element("div", positions, element("div", kinds_table(by_kind(found, text_of)), class_="card"), class_="cards"),
    )


def kinds_table(kinds: dict[str, tuple[float, int]]) -> Html:
    rows = [(kind, f"{loss:.2f}", f"{count:,}") for kind, (loss, count) in kinds.items()]
    return table(("kind of token", "mean loss", "tokens"), rows)


def shaded(found: TokenLosses, text: Text, tokenizer: BaseTokenizer) -> list[Html]:
    """The first tokens, each with its loss. What the model only reads is not shaded, and padding is left out."""
    ids = np.where(found.learned, found.targets, np.roll(text.inputs, -1, axis=1))  # the token that comes next
    # A token that is not learned is known if it is an input of the same text too.
    known = np.arange(ids.shape[1]) < ids.shape[1] - 1
    if text.documents is not None:
        known = known & (text.documents == np.roll(text.documents, -1, axis=1)) & (text.documents >= 0)
    real = found.learned | known
    columns = (array[real][:SHADED].tolist() for array in (ids, found.losses, found.likeliest, found.probability))
    return [_token(tokenizer, *of_token) for of_token in zip(*columns)]


def _token(tokenizer: BaseTokenizer, i: int, loss: float, likeliest: int, probability: float) -> Html:
    text = token_text(tokenizer, i)
    if not np.isfinite(loss):
        return element("span", text, class_="ignored")
    said = f"loss {loss:.2f}; likeliest: {token_text(tokenizer, likeliest)!r} ({probability:.0%})"
    strength = min(1.0, loss / HIGHEST)
    return element("span", text, title=said, style=f"background: rgb(217 98 43 / {strength:.2f})")
