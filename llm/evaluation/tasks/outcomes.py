"""What a model makes of an item: likelihoods, an answer, or a class. Whether that is right is measured later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from llm.data.errors import DataError
from llm.evaluation.likelihood import CannotScore, LogLikelihood
from llm.evaluation.perplexity import TextScore
from llm.evaluation.tasks.description import BY_PAIRS, Description
from llm.evaluation.tasks.items import Item


@dataclass(frozen=True)
class Outcome:
    """For one item. Which fields are filled depends on how the task is scored."""

    loglikelihoods: list[float] = field(default_factory=list)  # in nats: of each choice, or of the whole
    greedy: list[bool] = field(default_factory=list)  # whether each token of it is the most likely one
    sizes: list[int] = field(default_factory=list)  # of a text: tokens, words and bytes
    answer: str = ""  # what was written, or the class that was chosen
    probabilities: list[float] = field(default_factory=list)  # of each class


class Predictor:
    """A model, or anything else that solves tasks. It has methods for the kinds of task that it can solve."""

    refusal: ClassVar[str]  # the message of that error

    def log_likelihoods(self, pairs: Sequence[tuple[str, str]]) -> Sequence[LogLikelihood]:
        """How likely each continuation is after its context."""
        raise ValueError(self.refusal)

    def answers(self, contexts: Sequence[str], max_tokens: int, stop: Sequence[str]) -> Sequence[str]:
        """What is written after each context."""
        raise ValueError(self.refusal)

    def texts(self, texts: Sequence[str]) -> Sequence[TextScore]:
        """How likely each text is, however long it is."""
        raise ValueError(self.refusal)

    def classes(self, texts: Sequence[str]) -> Sequence[dict[str, float]]:
        """The probability of each class of each text, by its name."""
        raise ValueError(self.refusal)


def outcomes_of(items: Sequence[Item], description: Description, predictor: Predictor) -> list[Outcome]:
    """The outcome of each item. Raises DataError, with the place of the item, for one that cannot be scored."""
    by_pairs = description.score in BY_PAIRS
    scored = [item for item in items for _ in item.pairs] if by_pairs else items  # for each text its item
    try:
        return outcomes_of_pairs(items, predictor) if by_pairs else outcomes_of_texts(items, description, predictor)
    except CannotScore as error:
        raise DataError(f"{scored[error.number].place}: {error.reason}") from None


def outcomes_of_pairs(items: Sequence[Item], predictor: Predictor) -> list[Outcome]:
    """By the likelihoods of the choices, or of the continuation."""
    found = iter(predictor.log_likelihoods([pair for item in items for pair in item.pairs]))
    by_item = [[next(found) for _ in item.pairs] for item in items]
    return [Outcome([each.total for each in pairs], [each.is_greedy for each in pairs]) for pairs in by_item]


def outcomes_of_texts(items: Sequence[Item], description: Description, predictor: Predictor) -> list[Outcome]:
    """By an answer, the likelihood of a whole text, or a class."""
    if description.score == "answer":
        contexts = [item.context for item in items]
        return [Outcome(answer=each) for each in predictor.answers(contexts, description.max_tokens, description.stop)]
    if description.score == "text":
        scores = predictor.texts([item.target for item in items])
        return [Outcome([each.total], sizes=[each.tokens, each.words, each.bytes]) for each in scores]
    found = predictor.classes([item.context for item in items])
    for item, each in zip(items, found, strict=True):
        if item.target not in each:
            raise DataError(f"{item.place}: {item.target!r} is none of the classes of the model, {', '.join(each)}")
    return [Outcome(answer=max(each, key=each.__getitem__), probabilities=[*each.values()]) for each in found]
