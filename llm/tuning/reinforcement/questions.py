"""Prompts that a model is to answer: rows (examples/rows.py) without their answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm.data.errors import DataError
from llm.inference.chat_prompt import chat_ids, has_chat_template
from llm.inference.text import start_ids
from llm.tuning.chat.conversation import content_of
from llm.tuning.examples.fields import Message, Turns
from llm.tuning.examples.rows import Completion, Conversation, Prompt
from tokenizer import BaseTokenizer

ANSWERABLE = (Conversation, Completion, Prompt)  # the kinds of rows that have a prompt


@dataclass(frozen=True)
class Question:
    """A prompt: as text and as ids, and the fields of the row that it comes from, by which its answers are judged.

    The text of a conversation is that of its last message.
    """

    prompt: str
    ids: list[int]
    row: Mapping[str, Any]


def questions_of(
    rows: Iterable[Conversation | Completion | Prompt], tokenizer: BaseTokenizer, context: int, max_tokens: int
) -> list[Question]:
    """The questions of some rows. DataError, with the place of the row, if there is no room for an answer."""
    found = []
    for row in rows:
        try:
            question = question_of(row, tokenizer)
        except ValueError as error:
            raise DataError(f"{row.place}: {error}") from None
        if len(question.ids) + max_tokens > context:
            raise DataError(
                f"{row.place}: the prompt has {len(question.ids):,} tokens, so the context of {context:,} has no room "
                f"for an answer of --max-tokens {max_tokens:,}; leave the row out, or give another number"
            )
        found.append(question)
    return found


def question_of(row: Conversation | Completion | Prompt, tokenizer: BaseTokenizer) -> Question:
    turns = prompt_of(row)
    if isinstance(turns, str):
        ids = tokenizer.template.begin_ids() + tokenizer.encode_ordinary(turns) if turns else start_ids(tokenizer)
        return Question(turns, ids, row.fields)
    if not has_chat_template(tokenizer):
        raise ValueError(
            "the prompt is a conversation, and the model has no chat template; tune it with --objective chat first, or "
            "give prompts that are texts"
        )
    tools: dict[str, Any] = {"tools": row.tools} if isinstance(row, Conversation) and row.tools else {}
    ids = chat_ids(tokenizer, turns, **tools)
    return Question(content_of(turns[-1]), ids, row.fields)


def prompt_of(row: Conversation | Completion | Prompt) -> Turns:
    """What comes before the answer: a text, or the messages up to the last one of an assistant."""
    if not isinstance(row, Conversation):
        return row.prompt
    return list(row.messages[: row.first or last_answer(row.messages)])


def last_answer(messages: Sequence[Message]) -> int:
    return max(number for number, message in enumerate(messages) if message["role"] == "assistant")
