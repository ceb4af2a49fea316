"""Templates: the special tokens that a model expects around a text, such as `<s>` before it.

Source: `TemplateProcessing` of github.com/huggingface/tokenizers. A template is a sequence of parts. A part is "A" or
"B", which stand for a first and a second text, or the ids of a special token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Ids = tuple[int, ...]
Part = Literal["A", "B"] | Ids
T = TypeVar("T")


@dataclass(frozen=True)
class Template:
    """What surrounds one text, and two texts. `type_ids`, one for each part, are BERT's: which text a token is in."""

    single: tuple[Part, ...] = ("A",)
    pair: tuple[Part, ...] = ("A", "B")
    single_types: Ids = (0,)
    pair_types: Ids = (0, 1)

    def fill(self, first: Sequence[T], second: Sequence[T] | None = None, special: Any = None) -> list[T]:
        """The texts (as ids, or one value for each id) within their template.

        `special`, if given, stands in place of each id of a special token: for example a span that has no text.
        """
        result: list[Any] = []
        for part in self.single if second is None else self.pair:
            if part == "A":
                result += first
            elif part == "B":
                result += second or ()
            else:
                result += part if special is None else [special] * len(part)
        return result
