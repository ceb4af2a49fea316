"""What the fields of a record hold: texts, messages, tools. DataError says what was found, and what was expected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from llm.data.errors import DataError

Message = Mapping[str, Any]
Turns = str | list[Message]


def text_in(record: Mapping[str, Any], name: str) -> str:
    if not isinstance(record[name], str):
        raise DataError(f"{name} is {brief(record[name])}; expected a text")
    return record[name]


def turns_in(record: Mapping[str, Any], name: str) -> Turns:
    if not isinstance(record[name], (str, list)):
        raise DataError(f"{name} is {brief(record[name])}; expected a text or a list of messages")
    return text_in(record, name) if isinstance(record[name], str) else messages_in(record, name)


def messages_in(record: Mapping[str, Any], name: str) -> list[Message]:
    messages = record[name]
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{name} is {brief(messages)}; expected a list of messages")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise DataError(f"{name}: message {number} is {brief(message)}; expected an object with role and content")
        check_content(message, f"{name}: message {number}")
    return messages


def check_content(message: Message, where: str) -> None:
    content = message.get("content")
    if isinstance(content, str) or (content is None and message.get("tool_calls")):
        return
    if not isinstance(content, list) or not all(isinstance(part, dict) and "text" in part for part in content):
        raise DataError(f"{where} has the content {brief(content)}; expected a text")


def brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:60] + " ..."


def tools_in(record: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    tools = record.get("tools") or None
    with suppress(ValueError):  # some data sets keep them as a text, because their columns have one type
        tools = json.loads(tools) if isinstance(tools, str) else tools
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise DataError(f"tools is {brief(tools)}; expected a list of JSON schemas")
    return tools or None
