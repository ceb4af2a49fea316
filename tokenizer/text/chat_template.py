"""Chat templates: a conversation as the one text that a chat model was trained on.

A template is a small program in the language of Jinja2 that comes with a model. It is untrusted code: it runs in a
sandbox, in a process of its own with limits (chat_sandbox.py, chat_process.py), and sees only plain data. Its functions
and settings are those of Hugging Face's `transformers`, so that the text is the same. Jinja2 is optional.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizer.text.chat_process import render_in_process

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
REASONING = ("reasoning_content", "thinking", "reasoning")  # servers and libraries use different names for it
CONTINUE_MARK = "<<the text is continued here>> "  # shows where the final message ends in the rendered text


def named_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens that a tokenizer_config.json names: bos_token, eos_token and so on."""
    named = {}
    for role in ROLES:
        value = settings.get(role)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            named[role] = value
    return named


def choose_template(settings: Mapping[str, Any], name: str | None, *, has_tools: bool) -> str:
    """The template of a tokenizer_config.json. If it has several: the one called `name`, or the default one."""
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = [one for one in template if isinstance(one, dict) and {"name", "template"} <= one.keys()]
        templates = {one["name"]: one["template"] for one in named if isinstance(one["name"], str)}
        usual = "tool_use" if has_tools and "tool_use" in templates else "default"
        template = templates.get(name or usual)
        if template is None:
            raise ValueError(f"there is no chat template {name or usual!r}, only {', '.join(map(repr, templates))}")
    if not isinstance(template, str):
        raise ValueError("this tokenizer has no chat template: give chat_template=, or load it from a model's folder")
    return template


def render_chat(
    settings: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], chat_template: str | None = None, **options: Any
) -> str:
    """`render` with the template and special tokens of a tokenizer_config.json.

    `chat_template` may be another template, or the name of one of several in `settings`.
    """
    return render(template_of(settings, chat_template, options), messages, **{**named_tokens(settings), **options})


def template_of(settings: Mapping[str, Any], chat_template: str | None, options: Mapping[str, Any]) -> str:
    """The template that `render_chat` uses."""
    # A template contains "{{ ... }}" or "{% ... %}"; a name does not.
    if chat_template is None or ("{" not in chat_template and "chat_template" in settings):
        return choose_template(settings, chat_template, has_tools=options.get("tools") is not None)
    return chat_template


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    **variables: Any,
) -> str:
    """The text of a conversation.

    `messages` are dicts with "role" and "content"; `tools` are JSON schemas. `add_generation_prompt` begins an answer;
    `continue_final_message` leaves the last message open instead. ValueError if the template cannot be read, refuses
    the conversation, fails in any way, or goes beyond its limits of time, memory and size.
    """
    if add_generation_prompt and continue_final_message:
        raise ValueError("give add_generation_prompt or continue_final_message, not both")
    values = {"tools": tools, "documents": documents, "add_generation_prompt": add_generation_prompt, **variables}
    values = variables_of(messages, values)
    if continue_final_message:
        final = mark_end(values["messages"])
    text = render_in_process(template, values)
    return cut_at_mark(text, final) if continue_final_message else text


def render_with_notes(
    settings: Mapping[str, Any],
    mark: str,
    messages: Sequence[Mapping[str, Any]],
    chat_template: str | None = None,
    **options: Any,
) -> str:
    """`render_chat` with notes in the text that say what its parts are (chat_parts.py), each between two `mark`."""
    variables = {"tools": None, "documents": None, "add_generation_prompt": False, **named_tokens(settings), **options}
    return render_in_process(template_of(settings, chat_template, options), variables_of(messages, variables), mark)


def variables_of(messages: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a template sees."""
    require_jinja2()
    chat = [with_reasoning(plain(message)) for message in messages]
    return {"messages": chat, **{name: plain(value) for name, value in values.items()}}


def plain(value: Any) -> Any:
    """A copy that consists of dicts, lists and scalars only: nothing with methods that a template could misuse."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        return tuple(items) if type(value) is tuple else items
    for scalar in (str, int, float):
        if isinstance(value, scalar):
            return scalar(value)
    raise TypeError(f"a conversation consists of text, numbers, lists and dicts, not {type(value).__name__}")


def with_reasoning(message: Any) -> dict[str, Any]:
    """The message with its reasoning under the two names that templates read."""
    if not isinstance(message, dict):
        raise TypeError(f"a message is a dict with a role and content, not {message!r}")
    reasoning = next((message[name] for name in REASONING if message.get(name) is not None), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def mark_end(chat: list[dict[str, Any]]) -> str:
    """Put CONTINUE_MARK at the end of the last message. Returns the text of that message."""
    if not chat or not chat[-1].get("content"):
        raise ValueError("there is no final message with content that could be continued")
    content = chat[-1]["content"]
    if isinstance(content, str):
        chat[-1]["content"] = content + CONTINUE_MARK
        return content
    for block in reversed(content):
        if isinstance(block, dict) and "text" in block:
            text = block["text"]
            block["text"] = text + CONTINUE_MARK
            return text
    raise ValueError("the final message has no text that could be continued")


def cut_at_mark(text: str, final: str) -> str:
    """The text up to the mark."""
    at = text.rfind(CONTINUE_MARK.strip())
    if at < 0 or final.strip() not in text:
        raise ValueError("the chat template leaves out a part of the final message, so that it cannot be continued")
    # If the template has stripped the message, the space at the end of the mark is gone: strip the message itself too.
    return text[:at] if text[at : at + len(CONTINUE_MARK)] == CONTINUE_MARK else text[:at].rstrip()


def require_jinja2() -> None:
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise ImportError("chat templates need jinja2: pip install jinja2") from None
