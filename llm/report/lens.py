"""What each layer would predict next: the logit lens (nostalgebraist 2020). The last row is the answer of the model."""

from __future__ import annotations

from llm.data.lab.page.html import Html, element
from llm.inference.inspection import logit_lens_from
from llm.report.opened import Opened, token_text
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
    head = element(
        "tr", element("th", "after the token"), *(element("th", shown(tokenizer, i)) for i in inputs[first:])
    )
    rows = [
        element("tr", element("th", "embedding" if n == 0 else f"layer {n - 1}"), *(
            element("td", shown(tokenizer, i), class_="right" if i == wanted else None)
            for i, wanted in zip(logits.argmax(axis=1), ids[first + 1 :])
        ))
        for n, logits in enumerate(logit_lens_from(model, inputs.tolist(), first))
    ]  # fmt: skip
    about = "The likeliest next token, if each layer were the last one. What really came is marked."
    table = element("table", element("thead", head), element("tbody", *rows))
    return element("div", element("p", about, class_="about"), element("div", table, class_="scroll"))


def shown(tokenizer: BaseTokenizer, i: int) -> str:
    return shortened(repr(token_text(tokenizer, i))[1:-1])


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
