"""Checks that several formats share, and how their errors are worded.

A `FormatError` holds the end of a sentence, such as "is damaged: its merges are not a list". files.py puts the name of
the file before it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import regex

from tokenizer.bpe.merge_table import Pair, joined
from tokenizer.formats.records import FormatError, Spelling
from tokenizer.text.special_tokens import AddedToken

ANY = object()  # in a table of supported values: every value
SWITCH = (False, True)
SURROGATE = regex.compile("[\ud800-\udfff]")
MAX_UNUSED_IDS = 1 << 20  # a file with more unused ids is damaged


def unsupported(name: str, value: Any, reason: str = "which is not supported") -> FormatError:
    return FormatError(f"asks for {name} = {shorten(value)}, {reason}")


def expect(part: Any, supported: Mapping[str, Any], name: str) -> None:
    """FormatError unless the dict `part` of a file has supported values only. `name` says where it is in the file.

    `supported[key]` is ANY, or a tuple of values, or a function that returns whether a value is supported.
    """
    if not isinstance(part, dict):
        raise unsupported(name, part)
    # A key with a tuple of values may be missing: then the default of Hugging Face's library applies.
    required = [key for key, values in supported.items() if callable(values) or key == "type"]
    for key in [*required, *part]:
        value, values = part.get(key), supported.get(key, ())
        if values is not ANY and not (values(value) if callable(values) else value in values):
            raise unsupported(f"{name}.{key}" if name else key, value)


def expect_kind(part: Any, kinds: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """`part["type"]`. FormatError unless it is one of `kinds`, which maps each type to its supported values."""
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise unsupported(name, part)
    expect(part, {"type": (kind,), **kinds[kind]}, name)
    return kind


def shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def is_list(value: Any) -> bool:
    return isinstance(value, list)


def is_table(value: Any) -> bool:
    return isinstance(value, dict)


def is_table_or_none(value: Any) -> bool:
    return value is None or is_table(value)


def is_text(value: Any) -> bool:
    """Whether it is a string without surrogates. JSON can spell a surrogate, but UTF-8 cannot encode it."""
    return isinstance(value, str) and (value.isascii() or not SURROGATE.search(value))


def is_id(value: Any) -> bool:
    return type(value) is int and value >= 0  # not isinstance: True is an int too


def parse_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise FormatError(f"is damaged: it is not JSON ({error})") from None
    except RecursionError:
        raise FormatError("is not a tokenizer: it is nested too deeply") from None


def spelling_of_ids(id_of: Mapping[str, Any]) -> Spelling:
    """The inverse of `id_of`: how each id is spelled, None for an id that is not used."""
    # All are checked together, which is faster: a vocabulary has hundreds of thousands.
    are_right = set(map(type, id_of)) <= {str} and set(map(type, id_of.values())) <= {int}
    if not are_right or not is_text("".join(id_of)) or min(id_of.values(), default=0) < 0:
        text, i = next((text, i) for text, i in id_of.items() if not is_text(text) or not is_id(i))
        raise FormatError(f"is damaged: its vocab has {shorten(text)} with the id {shorten(i)}")
    size = max(id_of.values(), default=-1) + 1
    if size > len(id_of) + MAX_UNUSED_IDS:
        raise FormatError(f"is damaged: it has {len(id_of)} tokens and one of them has the id {size - 1}")
    spelling: Spelling = [None] * size
    for text, i in id_of.items():
        if spelling[i] is not None:
            raise FormatError(f"is damaged: {shorten(spelling[i])} and {shorten(text)} have the same id {i}")
        spelling[i] = text
    return spelling


def read_merges(merges: Any, id_of: Mapping[str, int]) -> list[Pair]:
    """The merges as pairs of ids. Older files write "left right", newer ones ["left", "right"]."""
    if not is_list(merges):
        raise FormatError("is damaged: its merges are not a list")
    split = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    if set(map(type, split)) <= {list} and set(map(len, split)) <= {2}:
        with suppress(KeyError, TypeError):  # a part that is no token
            ids = [*map(id_of.__getitem__, chain.from_iterable(split))]  # all together, which is faster
            return list(zip(ids[::2], ids[1::2]))
    wrong = next(merge for merge, parts in zip(merges, split) if not is_pair(parts, id_of))
    raise FormatError(f"is damaged: the merge {shorten(wrong)} is not a pair of its tokens")


def is_pair(parts: Any, id_of: Mapping[str, int]) -> bool:
    """Whether it is a list of two tokens."""
    return is_list(parts) and len(parts) == 2 and all(isinstance(part, str) and part in id_of for part in parts)


def check_merges(merges: Iterable[Pair], tokens: Sequence[Any], results: Collection) -> None:
    """FormatError if two `tokens` are merged into something that is not one of `results`."""
    for merged in joined(tokens, merges):
        if merged not in results:
            raise FormatError(f"is damaged: a merge makes {merged!r}, which is no token")


def without_special_merges(merges: Sequence[Pair], spelling: Spelling, added: Iterable[AddedToken]) -> list[Pair]:
    """The merges without those that make a special token. FormatError if a merge cannot be left out safely.

    With such a merge, `tokenizers` makes the special token even where the caller wants ordinary text only. Here
    ordinary text never becomes a special token.
    """
    specials = {token.content: token for token in added if token.special}
    if specials.keys().isdisjoint(joined(spelling, merges)):
        return list(merges)
    ordinary, merged_ids = [], {i for pair in merges for i in pair}
    for left, right in merges:
        token = specials.get(f"{spelling[left]}{spelling[right]}")
        if token is None:
            ordinary.append((left, right))
        elif token.id in merged_ids or token.single_word or "\u2581" in token.content:
            raise FormatError(
                f"asks for merges that make the special token {token.content!r}, which is not supported if other "
                "tokens are made from it, or if it is not found everywhere as a whole"
            )
    return ordinary
