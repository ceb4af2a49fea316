"""A reward model as reward: a model that has learned from preferences judges the answers (--objective reward)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm.data.records import Place
from llm.hub.errors import HubError
from llm.hub.load import load
from llm.inference.classify import class_outputs
from llm.model.classifier import Classifier
from llm.tuning.chat.conversation import Encoder
from llm.tuning.examples.rows import Completion, Conversation, row_of
from llm.tuning.reinforcement.questions import prompt_of


class RewardModel:
    """A reward (rewards.py): what the reward model at `path` says of each answer; None for one that it cannot read."""

    def __init__(self, path: str):
        self.model, tokenizer = load(path)
        if not isinstance(self.model, Classifier) or len(self.model.labels) != 1 or tokenizer is None:
            raise HubError(f"{path} is no reward model with a tokenizer; train one with --objective reward")
        self.encode = Encoder(tokenizer)

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> list[float | None]:
        texts = [self.encode(answered(row, text)).ids.tolist() for row, text in zip(rows, completions, strict=True)]
        fitting = [ids for ids in texts if len(ids) <= self.model.context]
        found = iter(class_outputs(self.model, fitting)[:, 0].tolist() if fitting else [])
        return [next(found) if len(ids) <= self.model.context else None for ids in texts]


def answered(fields: Mapping[str, Any], answer: str) -> Conversation | Completion:
    """A row with this answer in place of its own."""
    row: Any = row_of(Place("a question", 1), fields)
    turns = prompt_of(row)
    if isinstance(turns, str):
        return Completion(turns, answer, place=row.place, fields=fields)
    messages = [*turns, {"role": "assistant", "content": answer}]
    return Conversation(messages, len(turns), place=row.place, fields=fields)
