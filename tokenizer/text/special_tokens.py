"""Special tokens: ids that stand for an event, such as the end of a document, and other added tokens.

A text that contains `<|endoftext|>` is ordinary text unless the caller allows special tokens. This prevents injection:
the author of a text from outside must not be able to end a document, or to speak in the name of an assistant.

Added tokens that are not special, such as `<tool_call>` of Qwen, are always found, before the text is split into words.
The rules are those of `AddedVocabulary` in github.com/huggingface/tokenizers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import regex

from tokenizer.text.name_search import NameSearch

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"
UNKNOWN = "<|unknown|>"

# The names of these three in other families of models. If a tokenizer has several, the first one counts.
END_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
PADDING_NAMES = (PADDING, "<pad>", "[PAD]")
UNKNOWN_NAMES = (UNKNOWN, "<unk>", "[UNK]")

# What stands directly after or before a token: a letter, digit or underscore, or white space. (?r) searches backwards.
SURROGATE = regex.compile("[\ud800-\udfff]")
WORD_AFTER = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]")
WORD_BEFORE = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]\Z")
SPACES_AFTER = regex.compile(r"\p{White_Space}*")
SPACES_BEFORE = regex.compile(r"(?r)\p{White_Space}*")

MAX_CHOICES = 64  # how many different choices of special tokens are kept for later texts


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in text as a whole. The fields are named as in a `tokenizer.json`."""

    content: str
    id: int
    special: bool = True
    single_word: bool = False  # only where no letter, digit or underscore touches it
    lstrip: bool = False  # takes the white space before it
    rstrip: bool = False  # takes the white space after it
    normalized: bool = False  # is looked for in the normalized text, not in the text as it was given


class Segment(NamedTuple):
    """text[start:end] is the added token `id` or, if `id` is None, text between added tokens."""

    id: int | None
    start: int
    end: int


class Choice(NamedTuple):
    """The added tokens that are looked for in a text."""

    given: NameSearch  # in the text as it was given
    normalized: NameSearch  # in the normalized text
    refused: NameSearch  # the special tokens that are not looked for: usually an error


class AddedTokens:
    """The added tokens of one tokenizer, and how to find them in a text."""

    def __init__(self, tokens: Iterable[AddedToken], normalize: Callable[[str], str] | None = None):
        self.tokens = tuple(sorted(tokens, key=lambda token: token.id))
        check_names([token.content for token in self.tokens])
        self.ids = {token.content: token.id for token in self.tokens if token.special}  # in the order of the ids
        self.special_ids = frozenset(self.ids.values())
        self._not_special = frozenset(token.content for token in self.tokens if not token.special)
        # The tokens to look for in the text as it was given (False), and in the normalized text (True).
        self._by_text: dict[bool, dict[str, AddedToken]] = {False: {}, True: {}}
        for token in self.tokens:
            text = normalized_name(token, normalize)
            if text:  # a normalizer may remove all characters of a name: then the token is never found
                self._by_text[token.normalized][text] = token
        self._choices: dict[frozenset[str] | str, Choice] = {}

    def first_of(self, names: Iterable[str]) -> int | None:
        """The id of the first of `names` that is a special token, or None."""
        return next((self.ids[name] for name in names if name in self.ids), None)

    def choice(self, allowed: Collection[str] | str) -> Choice:
        """The tokens to look for: the special tokens `allowed`, and all tokens that are not special."""
        if isinstance(allowed, str) and allowed != "all":
            raise ValueError(f'allowed_special is a collection of names or "all", not {allowed!r}: try [{allowed!r}]')
        key = allowed if isinstance(allowed, str) else frozenset(allowed)
        if key not in self._choices:  # kept: making it for thousands of tokens takes longer than a short text
            if len(self._choices) >= MAX_CHOICES:
                self._choices.clear()
            self._choices[key] = self._make_choice(self.ids if key == "all" else key)
        return self._choices[key]

    def _make_choice(self, allowed: Collection[str]) -> Choice:
        for name in allowed:
            if name not in self.ids:
                known = ", ".join(map(repr, self.ids)) or "none at all"
                raise ValueError(f"{name!r} is not a special token of this tokenizer, which has {shorten(known)}")
        names = self._not_special.union(allowed)
        given, normalized = (
            NameSearch(text for text, token in by_text.items() if token.content in names)
            for by_text in (self._by_text[False], self._by_text[True])
        )
        return Choice(given, normalized, refused=NameSearch(self.ids.keys() - names))

    def check(self, text: str, choice: Choice, disallowed: Collection[str] | str) -> None:
        """ValueError if `text` contains a `disallowed` name. "all": any special token that is not allowed."""
        if isinstance(disallowed, str) and disallowed != "all":
            raise ValueError(f'disallowed_special is a collection of names or "all", not {disallowed!r}')
        search = choice.refused if disallowed == "all" else search_for(frozenset(disallowed))
        if found := next(search.find_all(text), None):
            start, end = found
            name = text[start:end]
            raise ValueError(
                f"the text contains the special token {name!r} at character {start}: pass "
                f"allowed_special=[{name!r}] to encode it as one, or disallowed_special=() to encode it as plain text"
            )

    def split(self, text: str, choice: Choice, *, normalized: bool = False) -> list[Segment]:
        """Divide `text` into the tokens of `choice` and the text between them. No segment is empty.

        `normalized`: the text is normalized, so look only for the tokens that are found in normalized text. Otherwise
        look only for the others. If several tokens begin at the same position, the longest one is found.
        """
        by_text = self._by_text[normalized]
        if not by_text:  # the usual case for normalized text
            return [Segment(None, 0, len(text))] if text else []
        search = choice.normalized if normalized else choice.given
        segments, done = [], 0
        for start, end in search.find_all(text):
            token = by_text[text[start:end]]
            if token.single_word and (WORD_BEFORE.search(text, 0, start) or WORD_AFTER.match(text, end)):
                continue
            if token.lstrip:
                start = max(done, SPACES_BEFORE.search(text, endpos=start).start())
            if token.rstrip:
                end = SPACES_AFTER.match(text, end).end()
            # A token that is white space is empty now if the token before it took that white space (`rstrip`).
            if start < end:
                segments += [Segment(None, done, start), Segment(token.id, start, end)]
                done = end
        segments.append(Segment(None, done, len(text)))
        return [segment for segment in segments if segment.start < segment.end]


def normalized_name(token: AddedToken, normalize: Callable[[str], str] | None) -> str:
    """The text that is looked for, and to which the token is decoded: its name, normalized if `token.normalized`.

    For example, if the normalizer puts a space before each text, `<tool>` is decoded as ` <tool>`, as by `tokenizers`
    since 0.23.
    """
    return normalize(token.content) if normalize and token.normalized else token.content


def normalized_names(tokens: Iterable[AddedToken], normalize: Callable[[str], str] | None) -> dict[int, str]:
    """id -> `normalized_name`, for the tokens for which it is not the name."""
    names = {token.id: (token.content, normalized_name(token, normalize)) for token in tokens}
    return {i: normalized for i, (name, normalized) in names.items() if normalized != name}


@lru_cache(maxsize=MAX_CHOICES)
def search_for(names: frozenset[str]) -> NameSearch:
    """A search that is kept for the next text with the same names."""
    return NameSearch(check_names(names))


def shorten(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + " ..."


def check_names(names: Iterable[str]) -> list[str]:
    """The names as a list. ValueError if one is empty, not text, or given twice, or if `names` is a single string."""
    if isinstance(names, str):
        raise ValueError(f"special_tokens is a list of names, not the text {names!r}: try [{names!r}]")
    names = list(names)
    seen = set()
    for name in names:
        if not isinstance(name, str) or not name or SURROGATE.search(name):
            problem = "a special token is a text without surrogates, of at least one character"
            raise ValueError(f"{problem}, not {name!r}")
        if name in seen:
            raise ValueError(f"the special token {name!r} is given twice")
        seen.add(name)
    return names
