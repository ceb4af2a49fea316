"""How many questions a model answers right, with the interval in which the true share lies.

The share of n right answers is itself a draw: with other questions it would be another. Wilson's interval (1927) holds
the true share in 95 of 100 such experiments. It is right for small n too, and for shares of 0 and 1, where the usual
p +- 1.96 sqrt(p (1 - p) / n) would have no width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from llm.hub.load import load_any
from llm.inference.sampling import Sampling
from llm.model.gpt import GPT
from llm.parallel.blas import fitting_blas_threads
from llm.tuning.examples.rows import read_rows
from llm.tuning.reinforcement.batches import rewards_of
from llm.tuning.reinforcement.questions import ANSWERABLE, questions_of, stop_ids_of
from llm.tuning.reinforcement.rewards import load_reward
from llm.tuning.reinforcement.sampling import CompletionSettings, complete, seeds_of

Z = 1.959964  # the normal distribution has 95% of its mass between -Z and Z


@dataclass(frozen=True)
class Accuracy:
    """`right` of `count` answers were right."""

    right: int
    count: int

    @property
    def share(self) -> float:
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.count)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.right:,} of {self.count:,} right, {self.share:.1%} (95% interval {low:.1%} to {high:.1%})"


def wilson(right: int, count: int, z: float = Z) -> tuple[float, float]:
    """The bounds p of Wilson's interval: where |right / count - p| = z sqrt(p (1 - p) / count)."""
    share = right / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = ((middle + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    return (max(low, 0.0) if right else 0.0), (min(high, 1.0) if right < count else 1.0)


def accuracies(correct: Sequence[bool], kinds: Sequence[str]) -> dict[str, Accuracy]:
    """Of each kind of question, and of all together if there are several kinds."""
    found = {
        kind: Accuracy(sum(c for c, k in zip(correct, kinds, strict=True) if k == kind), kinds.count(kind))
        for kind in dict.fromkeys(kinds)
    }
    return found if len(found) == 1 else {**found, "all": Accuracy(sum(correct), len(correct))}


def lines(found: Mapping[str, Accuracy]) -> Iterator[str]:
    width = max(map(len, found))
    return (f"{kind:{width}}  {accuracy}" for kind, accuracy in found.items())


def kind_of(fields: Mapping[str, Any]) -> str:
    """The kind of a row, as exercises.py writes it."""
    return str(fields.get("kind", "questions"))


@dataclass(frozen=True)
class Measure:
    """Let a model answer the questions of a file, and count the right answers."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run of train.py, a folder of Hugging Face, or a .gguf file."""
    data: str
    """The file of questions, such as `python -m llm.tuning exercises` writes."""
    reward: str = "exact"
    """What a right answer is: one that earns at least 1 by this reward, see --reward of train.py."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint of a run."""
    max_tokens: int = 64
    """The largest number of tokens of an answer."""
    temperature: float = 0.0
    """0: the likeliest answer. 1: answers are drawn, as they are in reinforcement before they are rewarded."""
    seed: int = 0
    """Decides which answers are drawn."""
    show: int = 3
    """How many wrong answers are printed."""

    def start(self) -> None:
        if self.max_tokens < 1 or self.seed < 0:
            raise ValueError(f"--max-tokens must be at least 1 and --seed 0, got {self.max_tokens} and {self.seed}")
        reward = load_reward(self.reward)  # first: a wrong name is told before the model has answered all questions
        model, tokenizer = load_any(self.path, self.checkpoint)
        if not isinstance(model, GPT):
            raise ValueError(f"{self.path} is a classifier, which writes no text")
        rows: list[Any] = list(read_rows(self.data, ANSWERABLE))
        questions = questions_of(rows, tokenizer, model.context, self.max_tokens)
        settings = CompletionSettings(
            self.max_tokens, Sampling(temperature=self.temperature, top_p=1.0), stop_ids_of(tokenizer)
        )
        seeds = seeds_of(self.seed, 0, len(questions))
        with fitting_blas_threads(model.num_parameters()):
            answers = complete(model, tokenizer, [q.ids for q in questions], settings, seeds)
        correct = (rewards_of(reward, questions, answers) >= 1).tolist()
        wrong = [(q, a) for q, a, is_right in zip(questions, answers, correct, strict=True) if not is_right]
        for question, answer in wrong[: self.show]:
            print(f"wrong: {question.prompt!r} -> {answer.text!r}")
        for line in lines(accuracies(correct, [kind_of(question.row) for question in questions])):
            print(line)
