"""/v1/chat/completions: the next message of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from llm.inference.chat_prompt import chat_ids
from llm.inference.server import checks
from llm.inference.server.answers import answer
from llm.inference.server.bodies import read_json
from llm.inference.server.choices import Shown
from llm.inference.server.errors import Refusal
from llm.inference.server.fields import read_fields, require
from llm.inference.server.logprobs import chat_logprobs
from llm.inference.server.request_parameters import COMMON, MOST_LOGPROBS, RequestParameters, read_parameters
from llm.inference.server.service import Prompt, Service, service_of

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
MOST_MESSAGES = 10_000
# Fields of messages that clients send back as they got them, and that change nothing here.
IGNORED = {"name", "refusal", "annotations", "reasoning_content", "reasoning"}


def messages(value: Any) -> list[dict[str, str]]:
    """The conversation, each message with its role and text."""
    if not isinstance(value, list) or not 0 < len(value) <= MOST_MESSAGES:
        raise ValueError(f"a list of 1 to {MOST_MESSAGES:,} messages")
    return [message(each) for each in value]


def message(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("a list of objects with role and content")
    more = {name for name, each in value.items() if each not in (None, [], {}) and name not in IGNORED}
    if unknown := more - {"role", "content"}:
        raise ValueError(f"messages with role and content, without {min(unknown)!r:.60}")
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError("messages whose role is " + ", ".join(ROLES))
    return {"role": ROLES[role], "content": content(value.get("content"))}


def content(value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(is_text_part(part) for part in value):
        raise ValueError('messages whose content is a text, or a list of {"type": "text", "text": ...}')
    return "\n".join(part["text"] for part in value)


def is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


FIELDS: dict[str, checks.Check] = COMMON | {
    "messages": messages,
    "max_completion_tokens": COMMON["max_tokens"],
    "logprobs": checks.boolean,
    "top_logprobs": checks.whole_number(0, MOST_LOGPROBS),
}


async def chat(request: Request) -> Response:
    service = service_of(request)
    fields = read_fields(await read_json(request), FIELDS)
    parameters = read_parameters(
        fields,
        service.sampling,
        max_tokens=max_tokens(fields),
        top_logprobs=number_of_alternatives(fields),
        allow_special=service.allows_special(fields),
    )
    ids = await conversation_ids(service, fields)
    return await answer(request, service, ChatShape(service, parameters), parameters, [Prompt(ids)])


async def conversation_ids(service: Service, fields: Mapping[str, Any]) -> list[int]:
    """The field `messages` up to the answer; a last message of the assistant is the beginning of the answer.

    With a field `add_generation_prompt` that is false: only the messages, each of them complete.
    """
    conversation = require(fields, "messages")
    service.check_length("".join(each["content"] for each in conversation))
    asks_answer = fields.get("add_generation_prompt", True)
    is_begun = conversation[-1]["role"] == "assistant"
    encode = partial(
        chat_ids,
        service.tokenizer,
        conversation,
        allow_special=service.allows_special(fields),
        add_generation_prompt=asks_answer and not is_begun,
        continue_final_message=asks_answer and is_begun,
    )
    return await service.encoding(encode)


def max_tokens(fields: Mapping[str, Any]) -> int | None:
    """The newer name counts, if both are given."""
    return fields.get("max_completion_tokens", fields.get("max_tokens"))


def number_of_alternatives(fields: Mapping[str, Any]) -> int | None:
    if fields.get("logprobs"):
        return fields.get("top_logprobs", 0)
    if fields.get("top_logprobs"):
        raise Refusal("top_logprobs need logprobs: true", param="top_logprobs")
    return None


class ChatShape:
    """How messages are written down."""

    field, prefix = "messages", "chatcmpl"
    whole_object, chunk_object = "chat.completion", "chat.completion.chunk"

    def __init__(self, service: Service, parameters: RequestParameters):
        self.names, self.with_logprobs = service.names, parameters.top_logprobs is not None

    def first(self, index: int) -> dict[str, Any]:
        return self._delta(index, {"role": "assistant", "content": "", "refusal": None}, None)

    def part(self, shown: Shown) -> list[dict[str, Any]]:
        """The last chunk has no text: clients take its finish_reason, and may not look at its text."""
        parts = []
        if shown.text or shown.tokens:
            parts.append(self._delta(shown.choice, {"content": shown.text}, self._logprobs(shown)))
        if shown.finish_reason is not None:
            parts.append(self._delta(shown.choice, {}, None) | {"finish_reason": shown.finish_reason})
        return parts

    def whole(self, shown: Shown) -> dict[str, Any]:
        message = {"role": "assistant", "content": shown.text, "refusal": None}
        choice = {"index": shown.choice, "message": message, "logprobs": self._logprobs(shown)}
        return choice | {"finish_reason": shown.finish_reason}

    def _delta(self, index: int, delta: dict[str, Any], logprobs: Any) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}

    def _logprobs(self, shown: Shown) -> dict[str, Any] | None:
        return chat_logprobs(self.names, shown.tokens) if self.with_logprobs else None
