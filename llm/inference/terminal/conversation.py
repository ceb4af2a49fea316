"""What the model reads in a chat: the messages so far, as its chat template writes them.

At the end of the context, the oldest turns are left out. A model without a template continues one text instead.
"""

from __future__ import annotations

from typing import Protocol

from llm.inference.chat_prompt import chat_ids
from llm.inference.text import start_ids
from tokenizer import BaseTokenizer

Message = dict[str, str]


class TooLong(ValueError):
    """A message does not fit into the context."""


class Conversation(Protocol):
    """What has been said."""

    continues_text: bool  # whether the answer continues a text, and is no message of its own
    left_out: int  # how many messages, or tokens, were left out for the last prompt

    @property
    def messages(self) -> list[Message]:
        """All that has been said."""

    def prompt(self, text: str) -> list[int]:
        """The ids that the model reads if the user says `text` now. Raises ValueError if that is not possible."""

    def add(self, text: str, answer: str) -> None:
        """Add what the user has said, and what the model has written."""

    def reset(self) -> None:
        """Forget all but the system message."""


class Messages:
    """A conversation in the model's chat template.

    `room`: the number of tokens that stay free for an answer.
    """

    continues_text = False

    def __init__(self, tokenizer: BaseTokenizer, context: int, room: int, system: str | None = None):
        self.tokenizer, self.context, self.room = tokenizer, context, room
        self.system: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        self.reset()

    def reset(self) -> None:
        self.turns: list[Message] = []
        self.first = self.left_out = 0  # the model sees the turns from this one on

    @property
    def messages(self) -> list[Message]:
        return self.system + self.turns

    def prompt(self, text: str) -> list[int]:
        first, ids = self._fit([*self.turns, {"role": "user", "content": text}])
        self.first, self.left_out = first, first - self.first
        return ids

    def add(self, text: str, answer: str) -> None:
        self.turns += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]

    def _fit(self, turns: list[Message]) -> tuple[int, list[int]]:
        """From which turn on the conversation fits into the context, and its ids."""
        first, most = self.first, self.context - self.room
        while len(ids := chat_ids(self.tokenizer, self.system + turns[first:])) > most:
            if first == len(turns) - 1:
                if len(ids) < self.context:
                    break
                raise TooLong(f"the message has {len(ids):,} tokens and the context is {self.context:,}; shorten it")
            first += 2  # a question and its answer
            # If the oldest turns have to go, make room for several more: the rest has to be read again each time.
            most = self.context // 2
        return first, ids


class ContinuedText:
    """For a model without a chat template: one text, written in turns by the user and by the model."""

    continues_text = True

    def __init__(self, tokenizer: BaseTokenizer, context: int):
        self.tokenizer, self.context = tokenizer, context
        self.reset()

    def reset(self) -> None:
        self.text, self.left_out = "", 0

    @property
    def messages(self) -> list[Message]:
        return [{"role": "text", "content": self.text}]

    def prompt(self, text: str) -> list[int]:
        begin, whole = self.tokenizer.template.begin_ids(), self._with(text)
        ids = begin + self.tokenizer.encode_ordinary(whole) if whole else start_ids(self.tokenizer)
        # Only half of the context, so that there is room for an answer, and for the next turns.
        self.left_out = 0 if len(ids) < self.context else len(ids) - self.context // 2
        return ids[self.left_out :]

    def add(self, text: str, answer: str) -> None:
        self.text = self._with(text) + answer

    def _with(self, text: str) -> str:
        """The text so far, and `text` in a new line."""
        return self.text + ("\n" if self.text and not self.text.endswith("\n") else "") + text
