"""A conversation as the tokens that a model for chats expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizer import BaseTokenizer


def has_chat_template(tokenizer: BaseTokenizer) -> bool:
    """Whether the tokenizer says how a conversation is written."""
    return bool(tokenizer.settings.get("chat_template"))


def chat_ids(
    tokenizer: BaseTokenizer,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = True,
    allow_special: bool = False,
    **options: Any,
) -> list[int]:
    """The ids of a conversation in the model's own chat template, which ends where the model's answer begins.

    Text of messages is text: `<|im_end|>` in it never becomes that token, unless `allow_special`. `options` are those
    of the template (tokenizer/text/chat_template.py). Raises ValueError if the tokenizer has no template, or if the
    template refuses the conversation.
    """
    if not has_chat_template(tokenizer) and "chat_template" not in options:
        raise ValueError("the model has no chat template, so it cannot chat; let it continue a text instead")
    if not options.get("continue_final_message"):  # otherwise the last message is the beginning of the answer
        options["add_generation_prompt"] = add_generation_prompt
    return tokenizer.encode_chat(messages, allow_special=allow_special, **options)
