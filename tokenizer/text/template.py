"""Templates: the special tokens that a model expects around a text, such as `<s>` before it.

Source: `TemplateProcessing` of github.com/huggingface/tokenizers. A template is a row of parts; a part is "A" or "B",
which stand for a first and a second text, or the ids of a special token.
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
    """What surrounds one text, and two. `type_ids` (one for each part) are those of BERT: which text a token is in."""

    single: tuple[Part, ...] = ("A",)
    pair: tuple[Part, ...] = ("A", "B")
    single_types: Ids = (0,)
    pair_types: Ids = (0, 1)

    def fill(self, first: Sequence[T], second: Sequence[T] | None = None, special: Any = None) -> list[T]:
        """The texts (ids, or whatever there is for each id) within their template. `special` stands for each id of a
        special token in place of the id, if given: a span that belongs to no text, for example."""
        result: list[Any] = []
        for part in self.single if second is None else self.pair:
            if part == "A":
                result += first
            elif part == "B":
                result += second or ()
            else:
                result += part if special is None else [special] * len(part)
        return result
