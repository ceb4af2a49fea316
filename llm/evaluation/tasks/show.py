"""Items that a model has won and lost, so that a score can be opened: question, choices, likelihoods, answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llm.evaluation.tasks.items import Item
from llm.evaluation.tasks.outcomes import Outcome
from llm.evaluation.tasks.results import Result

LEGEND = "; > the likeliest choice; * the right one"
CONTEXT = 300  # characters: the end of a context, which may be long with examples before it


def shown(result: Result, count: int, other: Result | None = None) -> Iterator[str]:
    """Up to `count` items lost, and as many won: answered wrong and right, or worse and better than by the other."""
    values = result.values(result.main)
    if other is not None:
        signs = [mine - theirs for mine, theirs in zip(values, other.values(other.main), strict=True)]
    elif result.task.description.score == "text":
        signs = [value - sum(values) / len(values) for value in values]
    else:
        signs = [value or -1.0 for value in values]
    others = [None] * len(values) if other is None else other.outcomes
    any_shown = False
    for title, sign in (("lost", -1), ("won", 1)):
        numbers = [number for number, each in enumerate(signs) if each * sign > 0]
        for number in numbers[:count]:
            any_shown = True
            yield f"{title}: {result.task.items[number].place}"
            yield from describe(result.task.items[number], result.outcomes[number], others[number])
    if any_shown and result.task.description.score == "choice":
        yield "numbers: log-likelihoods" + (", then those of the other model" if other else "") + LEGEND


def describe(item: Item, outcome: Outcome, other: Outcome | None) -> Iterator[str]:
    """The item and what was made of it."""
    context = item.context if len(item.context) <= CONTEXT else "..." + item.context[-CONTEXT:]
    if context:
        yield indented(context)
    if item.choices:
        yield from described_choices(item, [each for each in (outcome, other) if each is not None])
        return
    for title, each in (("model", outcome), ("other", other)):
        if each is not None:
            yield indented(f"{title}: {described_answer(each)}")
    yield indented(f"right: {item.target!r}" if len(item.target) <= CONTEXT else f"{item.target[:CONTEXT]!r}...")


def described_answer(outcome: Outcome) -> str:
    """A likelihood; what was written; or a class with its probability."""
    if outcome.loglikelihoods:
        rank = (
            "" if not outcome.greedy else ", each token the likeliest" if all(outcome.greedy) else ", not the likeliest"
        )
        return f"log-likelihood {outcome.loglikelihoods[0]:.3f}{rank}"
    return repr(outcome.answer) + (f" {max(outcome.probabilities):.1%}" if outcome.probabilities else "")


def described_choices(item: Item, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A line for each choice: log-likelihoods by each model, > at the likeliest one, * at the right one."""
    likeliest = [max(range(len(item.choices)), key=each.loglikelihoods.__getitem__) for each in outcomes]
    for number, choice in enumerate(item.choices):
        if len(item.contexts) > 1:
            choice = f"{item.contexts[number]} {choice}"
        numbers = "".join(
            f"{'>' if number == best else ' '}{each.loglikelihoods[number]:9.3f} "
            for each, best in zip(outcomes, likeliest, strict=True)
        )
        yield indented(f"{numbers}{'*' if number == item.label else ' '} {choice}")


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))
