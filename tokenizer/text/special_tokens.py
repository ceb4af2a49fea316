"""Special tokens: ids that stand for an event, such as the end of a document, and other added tokens.

A text that merely contains `<|endoftext|>` is ordinary text unless the caller allows special tokens. Otherwise whoever
writes the text could end documents, or put words into the mouth of an assistant.

Added tokens that are not special (`<tool_call>` of Qwen) are text: they are always found, before the text is split into
words. They are found as by `AddedVocabulary` in github.com/huggingface/tokenizers.
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

# The names that these have in other families of models, in the order of preference.
END_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
PADDING_NAMES = (PADDING, "<pad>", "[PAD]")
UNKNOWN_NAMES = (UNKNOWN, "<unk>", "[UNK]")

WORD_AFTER = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]")
WORD_BEFORE = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]\Z")
SPACES_AFTER = regex.compile(r"\p{White_Space}*")
SPACES_BEFORE = regex.compile(r"(?r)\p{White_Space}*")


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in text as a whole. The fields are named as in a `tokenizer.json`."""

    content: str
    id: int
    special: bool = True
    single_word: bool = False  # only where no letter, digit or underscore touches it
    lstrip: bool = False  # takes the white space before it
    rstrip: bool = False  # takes the white space after it
    normalized: bool = False  # is looked for in the text after the normalizer


class Segment(NamedTuple):
    """text[start:end] is the added token `id` or, if `id` is None, text between added tokens."""

    id: int | None
    start: int
    end: int


class AddedTokens:
    """The added tokens of one tokenizer. `ids` maps the names of the special ones to their ids, in order of the ids."""

    def __init__(self, tokens: Mapping[str, int] | Iterable[AddedToken], normalize: Callable[[str], str] | None = None):
        """`tokens` may be just names and ids of special tokens."""
        if isinstance(tokens, Mapping):
            tokens = [AddedToken(name, i) for name, i in tokens.items()]
        self.tokens = tuple(sorted(tokens, key=lambda token: token.id))
        check_names([token.content for token in self.tokens])
        self.ids = {token.content: token.id for token in self.tokens if token.special}
        self._not_special = frozenset(token.content for token in self.tokens if not token.special)
        self._by_text: tuple[dict[str, AddedToken], ...] = ({}, {})  # what is looked for in raw and in normalized text
        for token in self.tokens:
            text = normalize(token.content) if normalize and token.normalized else token.content
            self._by_text[token.normalized][text] = token

    def first_of(self, names: Iterable[str]) -> int | None:
        """The id of the first of `names` that is a special token, or None."""
        return next((self.ids[name] for name in names if name in self.ids), None)

    def names(self, allowed: Collection[str] | str) -> frozenset[str]:
        """The names of the tokens to look for when the special tokens `allowed` (names, or "all") are."""
        if allowed == "all":
            return self._not_special.union(self.ids)
        if isinstance(allowed, str):
            raise ValueError(f'allowed_special is a collection of names or "all", not {allowed!r}: try [{allowed!r}]')
        for name in allowed:
            if name not in self.ids:
                known = ", ".join(map(repr, self.ids)) or "none at all"
                raise ValueError(f"{name!r} is not a special token of this tokenizer, which has {known}")
        return self._not_special.union(allowed)

    def check(self, text: str, names: frozenset[str], disallowed: Collection[str] | str) -> None:
        """ValueError if `text` contains a `disallowed` name. "all": any special token that is not among `names`."""
        if disallowed == "all":
            disallowed = self.ids.keys() - names
        elif isinstance(disallowed, str):
            raise ValueError(f'disallowed_special is a collection of names or "all", not {disallowed!r}')
        refused = frozenset(disallowed)
        # Most texts do not even contain what all names begin with, "<|" say, and that is found out much faster.
        found = matcher(refused).search(text) if refused and common_start(refused) in text else None
        if found:
            name = found.group()
            raise ValueError(
                f"the text contains the special token {name!r} at character {found.start()}: pass "
                f"allowed_special=[{name!r}] to encode it as one, or disallowed_special=() to encode it as plain text"
            )

    def split(self, text: str, names: frozenset[str], *, normalized: bool = False) -> list[Segment]:
        """`text` as the tokens `names` and the text between them, without empty segments.

        Only tokens that are looked for in raw (or in `normalized`) text are found. Of several that begin at the same
        position, the longest is.
        """
        by_text = self._by_text[normalized]
        wanted = frozenset(text for text, token in by_text.items() if token.content in names) if by_text else None
        segments, done = [], 0
        for match in matcher(wanted).finditer(text) if wanted else ():
            token, (start, end) = by_text[match.group()], match.span()
            if token.single_word and (WORD_BEFORE.search(text, 0, start) or WORD_AFTER.match(text, end)):
                continue
            if token.lstrip:
                start = max(done, SPACES_BEFORE.search(text, endpos=start).start())
            if token.rstrip:
                end = SPACES_AFTER.match(text, end).end()
            if start < end:  # or the white space after the token before has taken all of this one
                segments += [Segment(None, done, start), Segment(token.id, start, end)]
                done = end
        segments.append(Segment(None, done, len(text)))
        return [segment for segment in segments if segment.start < segment.end]


@lru_cache(maxsize=64)
def matcher(names: frozenset[str]) -> regex.Pattern:
    """Matches the longest of `names`."""
    longest_first = sorted(names, key=len, reverse=True)
    return regex.compile("|".join(map(regex.escape, longest_first)))


@lru_cache(maxsize=64)
def common_start(names: frozenset[str]) -> str:
    return commonprefix(sorted(names))


def check_names(names: Iterable[str]) -> list[str]:
    """The names as a list. ValueError if one is empty, not text, or given twice, or if `names` is a single string."""
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
