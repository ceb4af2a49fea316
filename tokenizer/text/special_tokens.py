"""Special tokens: ids that stand for an event, not for text, such as the end of a document; and other added tokens.

Text that merely contains `<|endoftext|>` is ordinary text, unless the caller says that special tokens are allowed:
otherwise whoever writes the text could end documents or put words into the mouth of an assistant. As in any ordinary
text, other added tokens are found within it.

Added tokens that are not special (`<tool_call>` of Qwen) are text: they are always found, and come first, before
anything cuts them into pieces. How they are found is that of `AddedVocabulary` in github.com/huggingface/tokenizers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from os.path import commonprefix
from typing import NamedTuple

import regex

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"
UNKNOWN = "<|unknown|>"

STARTS_AS_WORD = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]")
ENDS_AS_WORD = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]\Z")
SPACE = r"\p{White_Space}*"


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in text as a whole. The fields are named as in a `tokenizer.json`."""

    content: str
    id: int
    special: bool = True
    single_word: bool = False  # only where no letter, digit or underscore touches it
    lstrip: bool = False  # takes the white space before it
    rstrip: bool = False  # takes the white space after it
    normalized: bool = False  # looked for in the text as the normalizer leaves it


class Found(NamedTuple):
    """A part of a text: an added token, or (`id` None) what is between them."""

    id: int | None
    start: int
    end: int


class AddedTokens:
    """The added tokens of one tokenizer; `ids` maps the names of the special ones to their ids, in order of the ids."""

    def __init__(self, tokens: Mapping[str, int] | Iterable[AddedToken], normalize: Callable[[str], str] | None = None):
        """`tokens` may be just names and ids of special tokens."""
        if isinstance(tokens, Mapping):
            tokens = [AddedToken(name, i) for name, i in tokens.items()]
        self.tokens = tuple(sorted(tokens, key=lambda token: token.id))
        check_names([token.content for token in self.tokens])
        self.ids = {token.content: token.id for token in self.tokens if token.special}
        self._always = frozenset(token.content for token in self.tokens if not token.special)
        self._stages: tuple[dict[str, AddedToken], ...] = ({}, {})  # what to look for in raw and in normalized text
        for token in self.tokens:
            text = normalize(token.content) if normalize and token.normalized else token.content
            self._stages[token.normalized][text] = token

    def allow(self, allowed: Collection[str] | str) -> frozenset[str]:
        """The names of the tokens to look for, when the special ones among them are `allowed` (names, or "all")."""
        if allowed == "all":
            return self._always.union(self.ids)
        if isinstance(allowed, str):
            raise ValueError(f'allowed_special is a collection of names or "all", not {allowed!r}: try [{allowed!r}]')
        for name in allowed:
            if name not in self.ids:
                known = ", ".join(map(repr, self.ids)) or "none at all"
                raise ValueError(f"{name!r} is not a special token of this tokenizer, which has {known}")
        return self._always.union(allowed)

    def refuse(self, text: str, wanted: frozenset[str], disallowed: Collection[str] | str, before: int = 0) -> None:
        """ValueError if `text` holds one of the `disallowed` names ("all": any special token that is not wanted). So
        many characters came `before` it.
        """
        if disallowed == "all":
            disallowed = self.ids.keys() - wanted
        elif isinstance(disallowed, str):
            raise ValueError(f'disallowed_special is a collection of names or "all", not {disallowed!r}')
        names = frozenset(disallowed)
        found = matcher(names).search(text) if names and common_start(names) in text else None
        if found:
            name = found.group()
            raise ValueError(
                f"the text holds the special token {name!r} at character {before + found.start()}: pass "
                f"allowed_special=[{name!r}] to encode it as one, or disallowed_special=() to encode it as plain text"
            )

    def find(self, text: str, wanted: frozenset[str], normalized: bool = False) -> list[Found]:
        """The parts of `text`, without empty ones: the `wanted` tokens that are looked for in raw (or in `normalized`)
        text, and what is between them. Where several begin at the same place, the longest wins."""
        stage = self._stages[normalized]
        names = wanted_names(stage, wanted)
        parts, done = [], 0
        for match in matcher(names).finditer(text) if names else ():
            token, (start, end) = stage[match.group()], match.span()
            if token.single_word and (ENDS_AS_WORD.search(text, 0, start) or STARTS_AS_WORD.match(text, end)):
                continue
            if token.lstrip:
                start = max(done, regex.search(f"(?r){SPACE}", text, endpos=start).start())
            if token.rstrip:
                end = regex.compile(SPACE).match(text, end).end()
            if start < end:  # or the token before, with the white space after it, has taken all of this one
                parts += [Found(None, done, start), Found(token.id, start, end)]
                done = end
        parts.append(Found(None, done, len(text)))
        return [part for part in parts if part.start < part.end]


def wanted_names(stage: dict[str, AddedToken], wanted: frozenset[str]) -> frozenset[str]:
    return (
        frozenset(text for text, token in stage.items() if token.content in wanted) if stage and wanted else frozenset()
    )


@lru_cache(maxsize=64)
def matcher(names: frozenset[str]) -> regex.Pattern:
    """Matches the longest of `names`."""
    longest_first = sorted(names, key=len, reverse=True)
    return regex.compile("|".join(map(regex.escape, longest_first)))


@lru_cache(maxsize=64)
def common_start(names: frozenset[str]) -> str:
    """What all names begin with, "<|" say: a text without it, which is found out much sooner, has none of them."""
    return commonprefix(sorted(names))


def check_names(names: Iterable[str]) -> list[str]:
    """The names as a list; ValueError if one is empty, given twice, not text, or if a string came instead of a list."""
    if isinstance(names, str):
        raise ValueError(f"special_tokens is a list of names, not the text {names!r}: try [{names!r}]")
    names = list(names)
    seen = set()
    for name in names:
        if not isinstance(name, str) or not name or any("\ud800" <= character <= "\udfff" for character in name):
            raise ValueError(f"a special token is a text of at least one character, not {name!r}")
        if name in seen:
            raise ValueError(f"the special token {name!r} is given twice")
        seen.add(name)
    return names
