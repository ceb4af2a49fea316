"""The result of a task: each measure over all items, with its error, and what the model made of each item."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from llm.evaluation.calibration import Bin, calibration_error, reliability, reliability_table
from llm.evaluation.loss import perplexity_of
from llm.evaluation.statistics import Share, aligned, standard_error_of_ratio
from llm.evaluation.tasks.items import Task
from llm.evaluation.tasks.measures import measures_of
from llm.evaluation.tasks.outcomes import Outcome, Predictor, outcomes_of


class Transform(NamedTuple):
    """What a mean log-likelihood becomes."""

    size: int  # the mean over what: tokens (0), words (1) or bytes (2) of texts
    value: Callable[[float], float]
    derivative: Callable[[float], float]  # an error is multiplied by it


PERPLEXITY = (lambda mean: perplexity_of(-mean), lambda mean: -perplexity_of(-mean))
TRANSFORMS = {
    "perplexity": Transform(0, *PERPLEXITY),
    "word_perplexity": Transform(1, *PERPLEXITY),
    "byte_perplexity": Transform(2, *PERPLEXITY),
    "bits_per_byte": Transform(2, lambda mean: -mean / math.log(2), lambda mean: -1 / math.log(2)),
}


class Mean(NamedTuple):
    """What a mean log-likelihood becomes, such as a perplexity."""

    value: float
    stderr: float  # NaN for a single item

    def __str__(self) -> str:
        return f"{self.value:.4g}" + ("" if math.isnan(self.stderr) else f" +- {self.stderr:.2g}")


Measure = Share | Mean


@dataclass(frozen=True)
class Result:
    """A task that was solved, well or badly. `scores` are the measures of each item."""

    task: Task
    outcomes: Sequence[Outcome]
    scores: Sequence[Mapping[str, float]]
    baselines: Mapping[str, Result] = field(default_factory=dict)  # of simpler models, by name

    @property
    def main(self) -> str:
        """The measure by which models are compared."""
        return self.task.description.measures[0]

    def values(self, name: str) -> list[float]:
        """A measure of each item. Those of likelihoods are logarithms in nats."""
        return [each[name] for each in self.scores]

    @cached_property
    def measures(self) -> dict[str, Measure]:
        names = self.task.description.measures
        return {name: measured(name, self.values(name), self.weights(name)) for name in names}

    @property
    def chance(self) -> float | None:
        """What guessing would reach, where there are choices."""
        if self.task.description.score != "choice":
            return None
        return math.fsum(1 / len(item.choices) for item in self.task.items) / len(self.task.items)

    def weights(self, name: str) -> list[int]:
        """How much of each item is measured: tokens, words or bytes of a text; else each item counts as one."""
        if self.task.description.score != "text":
            return [1 for _ in self.outcomes]
        return [each.sizes[TRANSFORMS[name].size] for each in self.outcomes]

    @property
    def of_baselines(self) -> dict[str, Measure]:
        """The main measure of each simpler model."""
        return {name: each.measures[self.main] for name, each in self.baselines.items()}

    @cached_property
    def groups(self) -> dict[str, Measure]:
        """The main measure of each kind of item, if rows name their kind."""
        names = [str(item.row.get(self.task.description.group, "")) for item in self.task.items]
        values, weights = self.values(self.main), self.weights(self.main)
        members = {name: [i for i, each in enumerate(names) if each == name] for name in sorted({*names} - {""})}
        if len(members) < 2:
            return {}
        return {
            name: measured(self.main, [values[i] for i in those], [weights[i] for i in those])
            for name, those in members.items()
        }

    @cached_property
    def bins(self) -> list[Bin]:
        """How far probabilities can be believed; for choices those of one choice among the others."""
        if self.task.description.score not in ("choice", "classes"):
            return []
        probabilities = [probabilities_of(each) for each in self.outcomes]
        return reliability(np.array([each.max() for each in probabilities]), np.array(self.values("acc")))

    def lines(self) -> Iterator[str]:
        """The result as text."""
        yield f"{self.task.name}: {len(self.outcomes):,} item{'s' * (len(self.outcomes) != 1)}"
        yield from aligned(self.measures, indent=2)
        if self.baselines:
            yield f"  {self.main} of chance {self.chance:.4f}, and of simpler models:"
            yield from aligned(self.of_baselines, indent=4)
        if self.groups:
            yield f"  {self.main} by {self.task.description.group}:"
            yield from aligned(self.groups, indent=4)
        if self.bins:
            error = calibration_error(self.bins)
            yield f"  expected calibration error {error:.2%}: how far its probabilities are from how often it is right"
        if self.task.description.score == "classes":
            yield from (f"  {line}" for line in reliability_table(self.bins, "texts"))

    def to_json(self) -> dict[str, Any]:
        """As plain values. Numbers that are not finite are None."""
        found: dict[str, Any] = {"n": len(self.outcomes)}
        for name, measure in self.measures.items():
            prefix = "" if name == self.main else f"{name}_"
            found |= {name: measure.value, **({f"{prefix}{key}": value for key, value in errors_of(measure).items()})}
        if self.chance is not None:
            found["chance"] = self.chance
        for key, measures in (("baselines", self.of_baselines), ("groups", self.groups)):
            if measures:
                found[key] = {name: {self.main: each.value, **errors_of(each)} for name, each in measures.items()}
        if self.bins:
            found["calibration"] = {"error": calibration_error(self.bins), "bins": [asdict(each) for each in self.bins]}
        return finite({**found, **self.items_to_json()})

    def items_to_json(self) -> dict[str, Any]:
        """What the model made of each item."""
        score, outcomes = self.task.description.score, self.outcomes
        found: dict[str, Any] = {"lines": [str(item.place) for item in self.task.items]}
        if self.main == "acc":
            found["correct"] = [value == 1 for value in self.values("acc")]
        if score == "choice":
            found["loglikelihoods"] = [list(each.loglikelihoods) for each in outcomes]
            found["labels"] = [item.label for item in self.task.items]
        elif score in ("continuation", "text"):
            found["loglikelihoods"] = [each.loglikelihoods[0] for each in outcomes]
        else:
            found["answers"] = [each.answer for each in outcomes]
        if score == "continuation":
            found["greedy"] = [each.greedy[0] for each in outcomes]
        if score == "text":
            found |= {name: [each.sizes[i] for each in outcomes] for i, name in enumerate(("tokens", "words", "bytes"))}
        return found


def evaluate_task(task: Task, predictor: Predictor) -> Result:
    """Let the predictor solve all items."""
    return result_of(task, outcomes_of(task.items, task.description, predictor))


def result_of(task: Task, outcomes: Sequence[Outcome]) -> Result:
    scores = [measures_of(task.description, item, each) for item, each in zip(task.items, outcomes, strict=True)]
    return Result(task, outcomes, scores)


def measured(name: str, values: Sequence[float], weights: Sequence[int]) -> Measure:
    """The mean over items of these weights, and what the measure makes of it."""
    if name not in TRANSFORMS:
        return Share(round(sum(values)), len(values))
    transform, mean = TRANSFORMS[name], math.fsum(values) / sum(weights)
    return Mean(transform.value(mean), abs(transform.derivative(mean)) * standard_error_of_ratio(values, weights))


def errors_of(measure: Measure) -> dict[str, Any]:
    if isinstance(measure, Mean):
        return {"stderr": measure.stderr}
    return {"stderr": measure.stderr, "interval": measure.interval}


def probabilities_of(outcome: Outcome) -> np.ndarray:
    """Of the classes; or of the choices, if one of them must be right."""
    if outcome.probabilities:
        return np.array(outcome.probabilities)
    best = max(outcome.loglikelihoods)
    weights = np.array([math.exp(each - best) if best > -math.inf else 1.0 for each in outcome.loglikelihoods])
    return weights / weights.sum()


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
