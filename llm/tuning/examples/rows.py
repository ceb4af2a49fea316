"""Examples in the shapes that people have. `read_rows` turns each record of a file into one of these:

    shape of the record                                 row
    messages                                            Conversation
    conversations, with from and value (ShareGPT)       Conversation
    prompt, completion                                  Completion of a text, or Conversation
    instruction, input, output (Alpaca)                 Conversation
    question, answer                                    Conversation
    prompt, chosen, rejected                            Preference: two of the above with the same prompt
    chosen, rejected                                    Preference: the prompt is what both begin with
    instruction, input, chosen, rejected                Preference
    text, label                                         Labeled
    text                                                Text
    prompt                                              Prompt

A prompt, a completion, chosen and rejected may be texts or lists of messages. If one of a row is a list, the row is a
conversation. Other fields are allowed. They stay in `fields`, where a reward may read them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from llm.data.errors import DataError
from llm.data.records import Place, read_records
from llm.tuning.examples.fields import Message, Turns, brief, messages_in, text_in, tools_in, turns_in

SHAREGPT_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "bot": "assistant",
    "chatgpt": "assistant",
}
WORD_AT_END = re.compile(r"\s*\S*\s*\Z")


@dataclass(frozen=True)
class Row:
    """An example. `fields` is the record as it was read."""

    place: Place = field(kw_only=True)
    fields: Mapping[str, Any] = field(kw_only=True, repr=False)


@dataclass(frozen=True)
class Conversation(Row):
    """Messages, of which those of an assistant are learned, from message number `first` on."""

    messages: Sequence[Message]
    first: int = 0  # messages before it are a prompt
    tools: Sequence[Mapping[str, Any]] | None = None  # JSON schemas


@dataclass(frozen=True)
class Completion(Row):
    """A text without roles, of which only the completion is learned."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Text(Row):
    """A text, all of which is learned."""

    text: str


@dataclass(frozen=True)
class Labeled(Row):
    text: str
    label: str


@dataclass(frozen=True)
class Preference(Row):
    """Two answers to the same prompt. Somebody prefers the first."""

    chosen: Conversation | Completion
    rejected: Conversation | Completion


@dataclass(frozen=True)
class Prompt(Row):
    """What an answer is to be written to."""

    prompt: Turns


R = TypeVar("R", bound=Row)


def read_rows(path: str | Path, kinds: tuple[type[R], ...]) -> list[R]:
    """The examples in a file, all of them of these kinds. DataError names the file and line of one that is not."""
    return [checked(row_of(place, record, kinds), kinds) for place, record in read_records(path)]


def checked(row: Row, kinds: tuple[type[R], ...]) -> R:
    if isinstance(row, kinds):
        return row
    objective = OBJECTIVES.get(type(row))
    other = f", which are for --objective {objective}" if objective else ""
    raise DataError(f"{row.place}: found {keys_of(row.fields)}{other}; expected {alternatives(kinds)}")


def row_of(place: Place, record: Mapping[str, Any], kinds: tuple[type[Row], ...] = (Row,)) -> Row:
    """The row that a record is, according to SHAPES. DataError if it fits none; it names the keys of these kinds."""
    for shape in SHAPES:
        if record.keys() >= set(shape.keys):
            try:
                return shape.make(record, {"place": place, "fields": record})
            except DataError as error:
                raise DataError(f"{place}: {error}") from None
    raise DataError(f"{place}: found {keys_of(record)}; expected {alternatives(kinds)}")


def keys_of(record: Mapping[str, Any]) -> str:
    return f"the keys {', '.join(map(repr, record))}" if record else "no keys"


def alternatives(kinds: tuple[type[Row], ...]) -> str:
    return "; or ".join(", ".join(shape.keys) for shape in SHAPES if issubclass(shape.kind, kinds))


# --- one function for each shape --------------------------------------------------------------------------------------

Origin = Mapping[str, Any]  # `place` and `fields`, which every row has


def from_messages(record: Mapping[str, Any], origin: Origin) -> Conversation:
    return conversation([], messages_in(record, "messages"), record, origin)


def from_sharegpt(record: Mapping[str, Any], origin: Origin) -> Conversation:
    turns = record["conversations"]
    if not isinstance(turns, list) or not all(
        isinstance(turn, dict) and isinstance(turn.get("from"), str) and "value" in turn for turn in turns
    ):
        if isinstance(turns, list) and all(isinstance(turn, dict) and "role" in turn for turn in turns):
            return conversation([], messages_in(record, "conversations"), record, origin)
        raise DataError(f"conversations is {brief(turns)}; expected a list of objects with from and value")
    messages = [{"role": SHAREGPT_ROLES.get(turn["from"], turn["from"]), "content": turn["value"]} for turn in turns]
    prompt: list[Message] = [{"role": "system", "content": record["system"]}] if record.get("system") else []
    return conversation([], messages_in({"conversations": prompt + messages}, "conversations"), record, origin)


def from_completion(record: Mapping[str, Any], origin: Origin) -> Conversation | Completion:
    return answered(turns_in(record, "prompt"), turns_in(record, "completion"), record, origin)


def from_instruction(record: Mapping[str, Any], origin: Origin) -> Conversation | Completion:
    return answered(instruction_in(record), turns_in(record, "output"), record, origin)


def from_question(record: Mapping[str, Any], origin: Origin) -> Conversation | Completion:
    question: list[Message] = [{"role": "user", "content": text_in(record, "question")}]
    is_number = isinstance(record["answer"], (int, float)) and not isinstance(record["answer"], bool)
    answer = str(record["answer"]) if is_number else turns_in(record, "answer")
    return answered(question, answer, record, origin)


def from_preference(record: Mapping[str, Any], origin: Origin) -> Preference:
    answers = turns_in(record, "chosen"), turns_in(record, "rejected")
    prompt, answers = prompt_of(record, answers)
    chosen, rejected = (answered(prompt, answer, record, origin) for answer in answers)
    return Preference(chosen, rejected, **origin)


def from_label(record: Mapping[str, Any], origin: Origin) -> Labeled:
    label = record["label"]
    if not isinstance(label, (str, int, float)) or label == "":
        raise DataError(f"label is {brief(label)}; expected a text or a number")
    return Labeled(text_in(record, "text"), str(label), **origin)


def from_text(record: Mapping[str, Any], origin: Origin) -> Text:
    return Text(text_in(record, "text"), **origin)


def from_prompt(record: Mapping[str, Any], origin: Origin) -> Prompt:
    return Prompt(turns_in(record, "prompt"), **origin)


@dataclass(frozen=True)
class Shape:
    keys: tuple[str, ...]  # a record with these keys has this shape
    kind: type[Row]
    make: Callable[[Mapping[str, Any], Origin], Row]


SHAPES = (  # the first that fits counts: records with prompt, chosen, rejected and messages are preferences
    Shape(("chosen", "rejected"), Preference, from_preference),
    Shape(("messages",), Conversation, from_messages),
    Shape(("conversations",), Conversation, from_sharegpt),
    Shape(("prompt", "completion"), Completion, from_completion),
    Shape(("instruction", "output"), Conversation, from_instruction),
    Shape(("question", "answer"), Conversation, from_question),
    Shape(("text", "label"), Labeled, from_label),
    Shape(("text",), Text, from_text),
    Shape(("prompt",), Prompt, from_prompt),
)
OBJECTIVES: dict[type[Row], str] = {  # of train.py, for rows whose shape says what they are made for
    Preference: "preference",
    Conversation: "chat",
    Completion: "chat",
    Labeled: "classify",
    Prompt: "reinforce",
}


# --- parts of a record ------------------------------------------------------------------------------------------------


def answered(prompt: Turns, answer: Turns, record: Mapping[str, Any], origin: Origin) -> Conversation | Completion:
    """A prompt with its answer: two texts, or a conversation if one of them is a list of messages."""
    if isinstance(prompt, str) and isinstance(answer, str):
        return Completion(prompt, answer, **origin)
    first: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    last: list[Message] = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else answer
    return conversation(first, last, record, origin)


def conversation(
    prompt: list[Message], messages: list[Message], record: Mapping[str, Any], origin: Origin
) -> Conversation:
    if not any(message["role"] == "assistant" for message in messages):
        roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
        raise DataError(
            f"found messages with the roles {roles}; expected one with the role assistant, which is learned"
        )
    return Conversation([*prompt, *messages], len(prompt), tools_in(record), **origin)


def instruction_in(record: Mapping[str, Any]) -> list[Message]:
    """The question in the shape of Alpaca: an instruction, and an input if there is one, in the next line."""
    parts = [text_in(record, "instruction"), text_in(record, "input") if record.get("input") else ""]
    question: Message = {"role": "user", "content": "\n".join(part for part in parts if part)}
    return [{"role": "system", "content": text_in(record, "system")}, question] if record.get("system") else [question]


def prompt_of(record: Mapping[str, Any], answers: tuple[Turns, Turns]) -> tuple[Turns, tuple[Turns, Turns]]:
    """The prompt of a preference, and the two answers without it."""
    if "instruction" in record:
        return instruction_in(record), answers
    prompt = turns_in(record, "prompt") if "prompt" in record else None
    chosen, rejected = answers
    # Some data sets have the prompt in its own field, and again at the beginning of both lists of messages.
    repeats = isinstance(chosen, list) and isinstance(rejected, list) and chosen[0]["role"] != "assistant"
    if prompt is not None and not repeats:
        return prompt, answers
    if type(chosen) is not type(rejected) or chosen == rejected:
        raise DataError("chosen and rejected are the same, or of two kinds; expected two different answers to a prompt")
    differ = (n for n, (one, other) in enumerate(zip(chosen, rejected)) if one != other)
    shared = chosen[: next(differ, min(len(chosen), len(rejected)))]
    if isinstance(shared, str):
        shared = WORD_AT_END.sub("", shared)  # not in the middle of a word, whose tokens would change
    return shared, (chosen[len(shared) :], rejected[len(shared) :])
