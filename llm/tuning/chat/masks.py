"""Which part of a conversation is learned: what an assistant writes, and the token that ends its turn.

A template that has `{% generation %}` says it itself. In all others, a turn is what the template writes for a message
of an assistant, without the heading before it:

    <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHello!<|im_end|>\\n
                                                          ~~~~~~~~~~~~~~~~

The heading is the prompt that asks for an answer. All tokens after it are written by the model when it answers, also
thoughts and calls of tools. The turn ends with the special token at its end; white space after it is not learned. If
there is none, and the next message begins with a special token, the model has to write that to end its turn.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from llm.data.errors import DataError
from tokenizer.text.aligned_text import Span
from tokenizer.text.chat_parts import ChatParts


@dataclass(frozen=True)
class SpecialToken:
    """A special token that the template has written."""

    span: Span
    ends_text: bool  # generation stops at it


@dataclass(frozen=True)
class Turn:
    """A part of a text that is learned."""

    span: Span
    has_end: bool  # whether it ends with the token that ends a turn


def trained_turns(
    parts: ChatParts, answers: Collection[int], heading: str, special: Sequence[SpecialToken], contents: Sequence[str]
) -> list[Turn]:
    """The turns to learn in a rendered conversation.

    `answers`: the numbers of the messages to learn. `heading`: what the template writes to ask for an answer, "" if it
    cannot. `special`: the special tokens in their order. `contents`: the text of each message.
    """
    if not parts.messages and not parts.has_generation:
        raise DataError(
            "the chat template has no loop over the messages, so the answers in its text cannot be found; mark them in "
            "the template with {% generation %} and {% endgeneration %}"
        )
    if parts.has_generation:
        return [marked_turn(parts.text, span, special) for span in parts.generated if is_wanted(span, parts, answers)]
    return [
        whole_turn(parts.text, span, heading, contents[number], special)
        for number in sorted(answers)
        for span in parts.messages.get(number, [])
        if parts.text[slice(*span)].strip()  # a template may have another loop that writes nothing
    ]


def is_wanted(span: Span, parts: ChatParts, answers: Collection[int]) -> bool:
    """Whether a generated part belongs to one of the answers."""
    start, end = span
    inside = {n for n, spans in parts.messages.items() if any(a <= start and end <= b for a, b in spans)}
    return not inside or not inside.isdisjoint(answers)  # without a loop over the messages, each part counts


def marked_turn(text: str, span: Span, special: Sequence[SpecialToken]) -> Turn:
    """A turn as the template marks it with `{% generation %}`."""
    start, end = span
    visible_end = start + len(text[start:end].rstrip())
    return Turn(span, any(start <= token.span[0] < visible_end <= token.span[1] for token in special))


def whole_turn(text: str, span: Span, heading: str, content: str, special: Sequence[SpecialToken]) -> Turn:
    """The turn in what the template has written for a message, `text[slice(*span)]`."""
    end = span[1]
    start = span[0] + heading_length(text[slice(*span)], heading, content)
    closing = closing_tokens(text, [token for token in special if start <= token.span[0] < end], end)
    if not closing:  # the turn may end with the heading of the next message
        after = next((token for token in special if end <= token.span[0]), None)
        closing = [after] if after and not text[end : after.span[0]].strip() else []
    if not closing:
        return Turn((start, end), has_end=False)
    # Some templates begin the next text in the same breath: "</s><s>".
    last = next((token for token in closing if token.ends_text), closing[-1])
    return Turn((start, last.span[1]), has_end=True)


def closing_tokens(text: str, special: Sequence[SpecialToken], end: int) -> list[SpecialToken]:
    """The special tokens before `end` that only white space follows."""
    closing: list[SpecialToken] = []
    for token in reversed(special):
        if text[token.span[1] : end].strip():
            break
        closing.insert(0, token)
        end = token.span[0]
    return closing


def heading_length(written: str, heading: str, content: str) -> int:
    """How many characters of what the template has written for an answer are its heading."""
    # An answer without thoughts may have only the first pieces of a heading that ends with "<think>".
    pieces = re.findall(r"[^\n>]*[\n>]|[^\n>]+", heading)
    for count in range(len(pieces), 0, -1):
        head = "".join(pieces[:count])
        if head.strip() and head in written:
            return written.index(head) + len(head)
    return max(written.find(content.strip()), 0)  # the template has no prompt that asks for an answer


def overlapping(spans: Sequence[Span], turns: Sequence[Turn]) -> np.ndarray:
    """Which tokens are learned, (tokens,) bool: those that have a character in one of the turns."""
    learned = np.zeros(len(spans), dtype=bool)
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T  # (tokens,) each
    for turn in turns:
        learned |= (starts < turn.span[1]) & (ends > turn.span[0]) & (starts < ends)
    return learned
