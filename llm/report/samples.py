"""What the run wrote, step by step: the lines of samples.jsonl."""

from __future__ import annotations

from llm.data.lab.page.html import Html, element
from llm.report.opened import Lines, Opened

MOST, LONGEST = 20, 1500  # samples; characters of each


def some(samples: Lines) -> Lines:
    """At most MOST of them, spread evenly; the first and the last are among them."""
    if len(samples) <= MOST:
        return samples
    return [samples[round(i * (len(samples) - 1) / (MOST - 1))] for i in range(MOST)]


def show(run: Opened) -> Html | None:
    if not run.samples:
        return None
    parts = []
    for line in reversed(some(run.samples)):
        text = str(line["text"])
        shown = text if len(text) <= LONGEST else text[:LONGEST] + " ..."
        parts.append(element("blockquote", element("p", shown), element("footer", f"step {line['step']:,}")))
    return element("div", *parts)
