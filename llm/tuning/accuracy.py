"""How many questions of a file a model answers right by a reward, with the interval in which the true share lies.

Other tasks with right answers, and what the interval means: llm/evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from llm.evaluation.statistics import aligned, shares
from llm.hub.load import load_any
from llm.inference.completions import CompletionSettings, complete, seeds_of, stop_ids_of
from llm.inference.sampling import Sampling
from llm.model.gpt import GPT
from llm.model.transformer import Transformer
from llm.parallel.blas import fitting_blas_threads
from llm.tuning.examples.rows import read_rows
from llm.tuning.reinforcement.batches import rewards_of
from llm.tuning.reinforcement.questions import ANSWERABLE, questions_of
from llm.tuning.reinforcement.rewards import load_reward


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
            kind = "translator" if isinstance(model, Transformer) else "classifier"
            raise ValueError(f"{self.path} is a {kind}, which writes no text after a question")
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
        for line in aligned(shares(correct, [kind_of(question.row) for question in questions])):
            print(line)
