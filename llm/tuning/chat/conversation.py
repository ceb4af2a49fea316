"""From an example to token ids, with a mask of those that are learned.

The text of a conversation is made by the chat template of the model. Text that somebody has written never becomes a
special token, as in inference. A text without roles has no template: it begins as the tokenizer wants it, and ends with
the token that ends a text, so that the model learns to stop.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from llm.data.errors import DataError
from llm.tuning.chat.masks import SpecialToken, Turn, overlapping, trained_turns
from llm.tuning.examples.fields import Message
from llm.tuning.examples.rows import Completion, Conversation, Text
from tokenizer import BaseTokenizer
from tokenizer.models.spans import encode_chat_with_spans, encode_with_spans
from tokenizer.text.aligned_text import Span
from tokenizer.text.chat_template import named_tokens

Learnable = Conversation | Completion | Text
LEARNABLE = (Conversation, Completion, Text)  # the kinds of rows that can be encoded
NOTHING = (
    "no token belongs to an answer; look at the weights of the messages, and at {% generation %} in the chat template"
)


@dataclass(frozen=True)
class Encoded:
    """An example as tokens."""

    text: str  # with the names of special tokens
    ids: np.ndarray  # (tokens,) int64
    spans: Sequence[Span]  # of each token in `text`
    turns: Sequence[Turn]  # what is learned of `text`

    @cached_property
    def learned(self) -> np.ndarray:
        """(tokens,) bool: which tokens are learned."""
        return overlapping(self.spans, self.turns)


class Encoder:
    """Encodes examples with one tokenizer.

    `allow_special`: special tokens in the text of a message are special, as in transformers. Only for texts that you
    trust: otherwise somebody could write the turns of others.
    """

    def __init__(self, tokenizer: BaseTokenizer, *, allow_special: bool = False):
        self.tokenizer, self.allow_special = tokenizer, allow_special
        self._special_ids = frozenset(tokenizer.special_tokens.values())
        self._headings: dict[bool, str] = {}  # of conversations without and with tools

    def __call__(self, row: Learnable) -> Encoded:
        """Raises DataError, with the place of the row, if the tokenizer or its chat template refuses it."""
        try:
            if isinstance(row, Conversation):
                return self.conversation(row)
            prompt, text = (row.prompt, row.completion) if isinstance(row, Completion) else ("", row.text)
            return self.text(prompt, text)
        except (ValueError, ImportError) as error:  # ImportError: there is no Jinja2
            raise DataError(f"{row.place}: {error}") from None

    def conversation(self, row: Conversation) -> Encoded:
        options: dict[str, Any] = {"tools": row.tools} if row.tools else {}
        ids, spans, parts = encode_chat_with_spans(
            self.tokenizer, row.messages, allow_special=self.allow_special, **options
        )
        special = [SpecialToken(span, i in self.end_ids) for i, span in zip(ids, spans) if i in self._special_ids]
        contents = [content_of(message) for message in row.messages]
        turns = trained_turns(parts, answers(row), self.heading(row.messages, options), special, contents)
        return Encoded(parts.text, np.array(ids, dtype=np.int64), spans, turns)

    def heading(self, messages: Sequence[Message], options: dict[str, Any]) -> str:
        """What the chat template writes to ask for an answer."""
        # It is the same for all conversations, so it is found only once.
        has_tools = bool(options)
        if has_tools not in self._headings:
            first = next((n for n, message in enumerate(messages) if message["role"] == "assistant"), 0)
            prompt = messages[:first] or messages
            without, asking = (
                self.tokenizer.render_chat(prompt, add_generation_prompt=asks, **options) for asks in (False, True)
            )
            # Some templates end a text that asks for nothing with a token of their own, as that of Phi 3.
            same = len(os.path.commonprefix([without, asking]))
            cut = same if same == len(without) else max(asking.rfind(end, 0, same) for end in ">\n") + 1
            self._headings[has_tools] = asking[cut:]
        return self._headings[has_tools]

    def text(self, prompt: str, text: str) -> Encoded:
        """A text, of which what follows the prompt is learned."""
        name = self.tokenizer.id_to_token(self.end) or "" if self.end is not None else ""
        text = text.removesuffix(name) if name else text  # its name would be ordinary text; the token follows
        ids, spans = encode_with_spans(self.tokenizer, prompt + text)
        begin = self.tokenizer.template.begin_ids()
        names = [self.tokenizer.id_to_token(i) or "" for i in begin]
        edges = [0, *accumulate(map(len, names))]
        before = edges[-1]  # how many characters the names at the beginning have
        start, end = before + len(prompt), before + len(prompt + text)
        spans = [*pairwise(edges), *((first + before, last + before) for first, last in spans)]
        ids = begin + ids
        if self.end is not None:
            ids, spans = [*ids, self.end], [*spans, (end, end + len(name))]
        whole = "".join(names) + prompt + text + name
        return Encoded(whole, np.array(ids, dtype=np.int64), spans, [Turn((start, len(whole)), self.end is not None)])

    @cached_property
    def end(self) -> int | None:
        """The token that ends a text: the one that the model's settings name, or else the end of a document."""
        named = self.tokenizer.token_to_id(named_tokens(self.tokenizer.settings).get("eos_token", ""))
        return self.tokenizer.end_of_text if named is None else named

    @cached_property
    def end_ids(self) -> set[int | None]:
        return {self.end, self.tokenizer.end_of_text} - {None}


def answers(row: Conversation) -> list[int]:
    """The numbers of the messages to learn. A message with the weight 0 is not learned, as in files for OpenAI."""
    return [
        number
        for number, message in enumerate(row.messages)
        if number >= row.first and message["role"] == "assistant" and message.get("weight") != 0
    ]


def content_of(message: Message) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def has_empty_answer(row: Learnable) -> bool:
    """Whether the model would learn to say nothing: an answer has no text, and calls no tool."""
    if isinstance(row, Conversation):
        return any(not _says(row.messages[number]) for number in answers(row))
    return isinstance(row, Completion) and not row.completion.strip()


def _says(message: Message) -> bool:
    return bool(content_of(message).strip() or message.get("tool_calls"))
