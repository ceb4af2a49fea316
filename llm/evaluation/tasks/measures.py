"""Whether an outcome is right, as numbers: 1 or 0, or what is added up over all items."""

from __future__ import annotations

import math
import re

from llm.evaluation.tasks.description import MEASURES, Description
from llm.evaluation.tasks.items import Item
from llm.evaluation.tasks.outcomes import Outcome


def measures_of(description: Description, item: Item, outcome: Outcome) -> dict[str, float]:
    """The measures of an item by name (description.py has the names)."""
    if any(map(math.isnan, [*outcome.loglikelihoods, *outcome.probabilities])):
        raise ValueError(f"{item.place}: the model gives no numbers (NaN) for this item, so it cannot be judged")
    if description.score == "choice":
        return choice(item, outcome)
    if description.score == "continuation":
        return {"acc": float(outcome.greedy[0]), "perplexity": outcome.loglikelihoods[0]}
    if description.score == "answer":
        return answer(description, item, outcome.answer)
    if description.score == "classes":
        return {"acc": float(outcome.answer == item.target)}
    return dict.fromkeys(MEASURES["text"], outcome.loglikelihoods[0])


def choice(item: Item, outcome: Outcome) -> dict[str, float]:
    """Whether the likeliest choice is the right one: as it is, or divided by its characters or bytes.

    A long choice is less likely than a short one, whatever it says. Of equally likely choices, the first counts.
    """
    likelihoods = outcome.loglikelihoods
    lengths = {
        "acc": [1 for _ in item.choices],
        "acc_norm": [len(each) for each in item.choices],
        "acc_bytes": [len(each.encode("utf-8", "surrogatepass")) for each in item.choices],
    }
    found = {}
    for name, counts in lengths.items():
        scores = [value / n if n else -math.inf for value, n in zip(likelihoods, counts, strict=True)]
        found[name] = float(scores.index(max(scores)) == item.label)
    return found


def answer(description: Description, item: Item, text: str) -> dict[str, float]:
    """Whether the answer is the target, or for each way to extract it from the text, by name."""
    if description.match == "regex":
        try:
            return {"acc": float(re.search(item.target, text) is not None)}
        except re.error as error:
            raise ValueError(f"{item.place}: {item.target!r} is not a regular expression: {error}") from None
    target = compared(description, item.target)
    if not description.extract:
        return {"acc": float(compared(description, text) == target)}
    found = {name: extract(text) for name, extract in description.extract.items()}
    scores = {name: float(each is not None and compared(description, each) == target) for name, each in found.items()}
    return {"acc": next(iter(scores.values())), **scores}


def compared(description: Description, text: str) -> str:
    """The part of an answer that is compared: without spaces at its ends, and without what is to be ignored."""
    for pattern in description.ignore:
        text = re.sub(pattern, "", text)
    return text.strip()
