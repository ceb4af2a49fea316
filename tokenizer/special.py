"""Special tokens: ids that stand for an event, not for text, such as the end of a document.

Text that merely contains `<|endoftext|>` is ordinary text, unless the caller says that special tokens are allowed:
otherwise whoever writes the text could end documents or put words into the mouth of an assistant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

import regex

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"
UNKNOWN = "<|unknown|>"


class SpecialTokens:
    """The special tokens of one tokenizer. `ids` maps name to id, in the order of the ids."""

    def __init__(self, ids: Mapping[str, int]):
        check_names(ids)
        self.ids = dict(sorted(ids.items(), key=lambda item: item[1]))

    def split(self, text: str, allowed: Collection[str] | str) -> list[str | int]:
        """`text` as ordinary pieces (str) and allowed special tokens (their ids). Where several begin at the same
        place, the longest wins. `allowed` is a collection of names, or "all"."""
        names = self._allowed(allowed)
        if not names:
            return [text]
        pieces = matcher(names).split(text)  # odd places hold what matched
        return [self.ids[piece] if i % 2 else piece for i, piece in enumerate(pieces) if piece]

    def _allowed(self, allowed: Collection[str] | str) -> frozenset[str]:
        if allowed == "all":
            return frozenset(self.ids)
        if isinstance(allowed, str):
            raise ValueError(f'allowed_special is a collection of names or "all", not {allowed!r}: try [{allowed!r}]')
        for name in allowed:
            if name not in self.ids:
                known = ", ".join(map(repr, self.ids)) or "none at all"
                raise ValueError(f"{name!r} is not a special token of this tokenizer, which has {known}")
        return frozenset(allowed)


@lru_cache(maxsize=64)
def matcher(names: frozenset[str]) -> regex.Pattern:
    """Matches the longest of `names`, as a group so that `split` keeps it."""
    longest_first = sorted(names, key=len, reverse=True)
    return regex.compile("(" + "|".join(map(regex.escape, longest_first)) + ")")


def check_names(names: Iterable[str]) -> list[str]:
    """The names as a list; ValueError if one is empty, given twice, not text, or if a string came instead of a list."""
    if isinstance(names, str):
        raise ValueError(f"special_tokens is a list of names, not the text {names!r}: try [{names!r}]")
    names = list(names)
    for name in names:
        if not isinstance(name, str) or not name or any("\ud800" <= character <= "\udfff" for character in name):
            raise ValueError(f"a special token is a text of at least one character, not {name!r}")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the special token {name!r} is given twice")
    return names
