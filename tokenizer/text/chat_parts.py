"""What the parts of a rendered conversation are: which message, and which `{% generation %}`, they come from.

Training needs to know where the words of an assistant stand in the text that a template makes. To look for the words is
not enough: somebody else may say the same, and a template may leave out a part of a message. So the program that runs
the template (chat_sandbox.py) writes notes into the text: a sign between two marks, which are removed here.

    (  )    before and after each loop
    7       within a loop that has come to message 7
    =7      message 7 has got a name. This counts in a loop over something else, such as numbers of messages
    <  >    before and after what stands in `{% generation %}`
    g       at the beginning: the template has `{% generation %}`
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tokenizer.text.aligned_text import Span


@dataclass
class ChatParts:
    """A rendered text, and which of its characters come from where."""

    text: str
    has_generation: bool = False  # whether the template has `{% generation %}`
    messages: dict[int, list[Span]] = field(default_factory=dict)  # number of a message -> where it stands in the text
    generated: list[Span] = field(default_factory=list)  # what stands in `{% generation %}`

    def moved(self, text: str, places: list[int]) -> ChatParts:
        """The parts of another text, in which character i of this one has the place `places[i]`."""

        def move(spans: list[Span]) -> list[Span]:
            return [(places[start], places[end]) for start, end in spans]

        messages = {number: move(spans) for number, spans in self.messages.items()}
        return ChatParts(text, self.has_generation, messages, move(self.generated))


def read_notes(rendered: str, mark: str) -> ChatParts:
    """The parts of a text with notes. Text that a loop writes before, between and after messages belongs to none."""
    parts, open_generations = ChatParts(""), []
    current: int | None = None  # the message to which text belongs
    loops: list[tuple[int | None, bool]] = []  # the open ones: `current` before, whether they come to messages
    # The pieces alternate: text, note, text, note ... text.
    for is_note, piece in enumerate(re.split(f"{mark}([^{mark}]*){mark}", rendered)):
        at = len(parts.text)
        if is_note % 2 == 0:
            parts.text += piece
            if piece and current is not None:
                parts.messages.setdefault(current, []).append((at, at + len(piece)))
        elif piece == "(":
            loops.append((current, False))
        elif piece == ")":
            current, _ = loops.pop()
        elif piece == "<":
            open_generations.append(at)
        elif piece == ">":
            parts.generated.append((open_generations.pop(), at))
        elif piece == "g":
            parts.has_generation = True
        elif piece[0] == "=":
            if loops and not loops[-1][1]:
                current = int(piece[1:])
        else:
            current = int(piece)
            loops[-1] = (loops[-1][0], True)
    parts.messages = {number: joined(spans) for number, spans in parts.messages.items()}
    return parts


def joined(spans: list[Span]) -> list[Span]:
    """The spans, in which neighbours that touch are one."""
    result: list[Span] = []
    for start, end in spans:
        if result and result[-1][1] == start:
            start = result.pop()[0]
        result.append((start, end))
    return result
