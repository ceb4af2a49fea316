"""What each layer would predict next: the logit lens (nostalgebraist 2020). The last row is the answer of the model."""

from __future__ import annotations

from llm.data.lab.page.html import Html, element
from llm.inference.inspection import logit_lens_from
from llm.report.opened import Opened, token_text
from llm.report.tables import wide_table
from tokenizer import BaseTokenizer

COLUMNS = 12  # tokens that are shown, after some context
CONTEXT = 20
LONGEST = 24  # characters of a token that are shown


def show(run: Opened) -> Html | None:
    if run.gpt is None or run.text is None:
        return None
    model, tokenizer, ids = run.gpt, run.tokenizer, run.text.first[: CONTEXT + COLUMNS + 1]
    if len(ids) < 2:
        return None
    inputs, first = ids[:-1], max(0, len(ids) - 1 - COLUMNS)
    head = ["after the token", *(shown(tokenizer, i) for i in inputs[first:])]
    rows: list[list[str]] = []
    for n, logits in enumerate(logit_lens_from(model, inputs.tolist(), first)):
        likeliest = [
            element("b", shown(tokenizer, i)) if i == wanted else shown(tokenizer, i)
            for i, wanted in zip(logits.argmax(axis=1), ids[first + 1 :])
        ]
        rows.append(["embedding" if n == 0 else f"layer {n - 1}", *likeliest])
    about = "The likeliest next token, if each layer were the last one. What really came is marked."
    return element("div", element("p", about, class_="about"), wide_table(head, rows))


def shown(tokenizer: BaseTokenizer, i: int) -> str:
    return shortened(repr(token_text(tokenizer, i))[1:-1])


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
