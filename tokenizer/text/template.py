"""Templates: the special tokens that a model expects around a text, such as `<s>` before it.

Source: `TemplateProcessing` of github.com/huggingface/tokenizers. A template is a sequence of parts. A part is "A" or
"B", which stand for a first and a second text, or the ids of special tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, TypeVar

Ids = tuple[int, ...]
Part = Literal["A", "B"] | Ids
T = TypeVar("T")


@dataclass(frozen=True)
class Template:
    """The parts for one text, and for a pair of texts.

    BERT gives each token a type, which says in which text it is. The types, one for each part, are only kept for files.
    """

    single: tuple[Part, ...] = ("A",)
    pair: tuple[Part, ...] = ("A", "B")
    single_types: Ids = (0,)
    pair_types: Ids = (0, 1)

    def fill(self, first: Sequence[T], second: Sequence[T] | None = None, special: Any = None) -> list[T]:
        """The ids `first` and `second`, with the special tokens around them.

        `first` and `second` may also be other values, one for each id, such as spans. Then `special` is the value for
        each special token.
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

    def begin_ids(self) -> list[int]:
        """The ids of the special tokens before a text."""
        before = takewhile(lambda part: part != "A", self.single)
        return [i for part in before if isinstance(part, tuple) for i in part]

    def special_ids(self) -> list[int]:
        """The ids of the special tokens in it."""
        return sorted({i for part in (*self.single, *self.pair) if isinstance(part, tuple) for i in part})


def ends_template(begin: int | None, end: int | None) -> Template:
    """The token `begin` before each text and the token `end` after it; None: no token."""
    before, after = (() if i is None else ((i,),) for i in (begin, end))
    single, pair = (*before, "A", *after), (*before, "A", *after, *before, "B", *after)
    return Template(single, pair, (0,) * len(single), (0,) * len(single) + (1,) * len(single))


def begin_template(begin: int) -> Template:
    """The token `begin` before each text (Llama)."""
    return ends_template(begin, None)


def bert_template(cls: int, sep: int) -> Template:
    """[CLS] A [SEP], and [CLS] A [SEP] B [SEP]."""
    begin, end = (cls,), (sep,)
    return Template((begin, "A", end), (begin, "A", end, "B", end), (0, 0, 0), (0, 0, 0, 1, 1))


def roberta_template(cls: int, sep: int) -> Template:
    """<s> A </s>, and <s> A </s></s> B </s>. All types are 0."""
    begin, end = (cls,), (sep,)
    return Template((begin, "A", end), (begin, "A", end, end, "B", end), (0,) * 3, (0,) * 6)
