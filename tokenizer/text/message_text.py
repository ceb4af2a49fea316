"""Text of messages stays text: `<|im_end|>` in a message must not end the message.

A chat template joins the text of messages with special tokens of its own, and in the result both look the same. So
before that, a mark is put into the text of the messages: a character that occurs nowhere else. It is removed when the
special tokens have been found. This is done in two ways:

- lightly: only inside names of special tokens. A template that trims a message, or looks what it begins with, does the
  same as without marks. But it could still make a name, if it removes something: "<|im_/think" + "end|>".
- fully: between all characters. No text of a message can become a part of a name, but the template may do
  something else than without marks.

The special tokens of the second are those of the template alone. If the first has the same ones, it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tokenizer.text.aligned_text import AlignedText
from tokenizer.text.segmenter import FoundToken, Segmenter

# Templates compare these with words of their own, so they stay as they are. But a template may make a token of them,
# such as <|user|> of a role. So they stay only if they are usual words, or not a part of the name of a token.
WORD = re.compile(r"[\w-]+")
WORD_KEYS = ("role", "type", "id", "tool_call_id")
USUAL_WORDS = {"system", "developer", "user", "assistant", "model", "tool", "function", "ipython", "observation"}
USUAL_WORDS |= {"text", "image", "image_url", "audio", "video", "file", "string", "object", "array", "null"}
TEXT_OPTIONS = ("tools", "documents")  # options of a template that contain text of others

# Characters that are hardly ever used: for private use, and Egyptian hieroglyphs, which BERT's normalizer keeps.
MARKS = [*map(chr, chain(range(0xE000, 0xF900), range(0x13000, 0x13430)))]


@dataclass(frozen=True)
class ProtectedChat:
    """A conversation in which only the template makes special tokens."""

    segmenter: Segmenter  # removes the mark
    mark: str
    texts: dict[str, Any]  # messages, and options with text of others: with marks
    rendered: str  # with marks
    segments: list[str | int]  # of `rendered`


def protect(
    segmenter: Segmenter, render: Callable[..., str], messages: Sequence[Mapping[str, Any]], **options: Any
) -> ProtectedChat:
    """Put marks into the texts of a conversation. `render` makes one text of messages and options."""
    given = "".join(all_texts([messages, options]))
    for name in segmenter.added.ids:
        if len(name) == 1 and name in given:  # nothing can be put into it
            raise ValueError(f"a message contains {name!r}, which is a special token of one character; leave it out")
    mark = unused_mark(segmenter, given)
    without_mark = Segmenter(segmenter.added, segmenter.normalizer, MarkRemover(mark, segmenter.prefix))
    texts = {"messages": messages, **{name: options[name] for name in TEXT_OPTIONS if name in options}}

    def protected(*, fully: bool) -> ProtectedChat:
        marker = Marker(mark, segmenter, fully=fully)
        marked = {name: marker.copy(value) for name, value in texts.items()}
        rendered = render(**{**options, **marked})
        segments = list(without_mark.segments(rendered, "all", ()))
        return ProtectedChat(without_mark, mark, marked, rendered, segments)

    lightly, fully = protected(fully=False), protected(fully=True)
    special = segmenter.added.special_ids
    same = [i for i in lightly.segments if i in special] == [i for i in fully.segments if i in special]
    return lightly if same else fully


def chat_segments(
    segmenter: Segmenter, render: Callable[..., str], messages: Sequence[Mapping[str, Any]], **options: Any
) -> list[str | int]:
    """The segments of a conversation (`Segmenter.segments`), in which only the template makes special tokens."""
    return protect(segmenter, render, messages, **options).segments


class MarkRemover:
    """The last step before the model encodes a segment: it removes the mark, and then puts the prefix before it."""

    def __init__(self, mark: str, prefix: Callable[..., str] | None):
        self.mark, self.prefix = mark, prefix

    def __call__(self, segment: str, *, is_first: bool) -> str:
        segment = segment.replace(self.mark, "")
        return self.prefix(segment, is_first=is_first) if self.prefix else segment

    def align(self, segment: AlignedText, *, is_first: bool) -> AlignedText:
        """The same for a text whose characters remember where they were."""
        segment = segment.filter([character != self.mark for character in segment.text])
        return self.prefix.align(segment, is_first=is_first) if self.prefix else segment  # type: ignore[attr-defined]


def unused_mark(segmenter: Segmenter, text: str) -> str:
    """A character that is not in the text or in a token, and that the normalizer keeps. ValueError if there is none."""
    names = "".join(token.content for token in segmenter.added.tokens)
    normalize = segmenter.normalizer or str
    unused = (mark for mark in MARKS if mark not in text and mark not in names)
    mark = next((mark for mark in unused if mark in normalize(f"a{mark}b")), None)
    if mark is None:
        raise ValueError("the messages contain too many different rare characters to tell text from special tokens")
    return mark


class Marker:
    """Puts marks into the text of messages, lightly or fully."""

    def __init__(self, mark: str, segmenter: Segmenter, *, fully: bool):
        self.mark, self.segmenter, self.fully = mark, segmenter, fully

    def copy(self, value: Any, key: Any = None) -> Any:
        """A copy of a value in a message, with marks. `key`: its name in a dict."""
        if isinstance(value, str):
            return self.everywhere(value) if self.fully and not self.is_word(value, key) else self.inside_names(value)
        if isinstance(value, Mapping):
            return {self._key(name): self.copy(item, name) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.copy(item) for item in value]
        return value

    def _key(self, name: Any) -> Any:
        return self.inside_names(name) if isinstance(name, str) else name  # templates look for keys by their names

    def is_word(self, value: str, key: Any) -> bool:
        """Whether templates compare this value with words of their own, and it cannot be a part of a name."""
        if key not in WORD_KEYS or not WORD.fullmatch(value):
            return False
        return value in USUAL_WORDS or not any(value in name for name in self.segmenter.added.ids)

    def inside_names(self, text: str) -> str:
        """The text with a mark inside each name of a special token."""
        special = self.segmenter.added.special_ids
        if special.isdisjoint(self.segmenter.segments(text, "all", ())):
            return text
        pieces, done = [], 0
        for segment in self.segmenter.aligned_segments(text, "all", ()):
            if isinstance(segment, FoundToken) and segment.id in special:
                start, end = segment.span
                # A token may take the white space before it. The mark must stand inside the name.
                inside = end - len(text[start:end].lstrip()) + 1
                pieces += [text[done:inside], self.mark]
                done = inside
        return "".join([*pieces, text[done:]])

    def everywhere(self, text: str) -> str:
        """The text with a mark before and after each character, except white space at the ends: templates trim it."""
        inner = text.strip()
        start = text.find(inner)
        if not inner:
            return text
        return text[:start] + self.mark + self.mark.join(inner) + self.mark + text[start + len(inner) :]


def all_texts(value: Any) -> Iterator[str]:
    """All text in lists and dicts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from all_texts(name)
            yield from all_texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from all_texts(item)
