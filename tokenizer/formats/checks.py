"""What the formats check, and how errors are worded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import regex

from tokenizer.bpe.merge_table import Pair
from tokenizer.formats.records import FormatError
from tokenizer.text.special_tokens import AddedToken

ANY = object()
SURROGATE = regex.compile("[\ud800-\udfff]")
MAX_UNUSED_IDS = 1 << 20  # a file with more unused ids is damaged


def expect(part: Any, supported: Mapping[str, Any], name: str) -> None:
    """FormatError unless each key of `part`, a part of a file called `name`, has one of the `supported` values.

    A key may be missing if the default of Hugging Face's library is supported. Only "type" must be there.
    """
    if not isinstance(part, dict):
        raise FormatError(f"asks for {name} = {shorten(part)}, which is not supported")
    for key in ["type", *part] if "type" in supported else part:
        values = supported.get(key, ())
        if values is not ANY and part.get(key) not in values:
            where = f"{name}.{key}" if name else key
            raise FormatError(f"asks for {where} = {shorten(part.get(key))}, which is not supported")


def shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def is_text(value: Any) -> bool:
    """Whether it is a string that UTF-8 can encode. JSON can spell surrogates, which it cannot."""
    return isinstance(value, str) and (value.isascii() or not SURROGATE.search(value))


def is_id(value: Any) -> bool:
    return type(value) is int and value >= 0


def parse_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise FormatError(f"is damaged: it is not JSON ({error})") from None
    except RecursionError:
        raise FormatError("is not a tokenizer: it is nested too deeply") from None


def by_id(id_of: Mapping[str, Any]) -> list[str | None]:
    """The spelling of every id, None for those that are not used."""
    for text, i in id_of.items():
        if not is_text(text) or not is_id(i):
            raise FormatError(f"is damaged: its vocab has {shorten(text)} with the id {shorten(i)}")
    size = max(id_of.values(), default=-1) + 1
    if size > len(id_of) + MAX_UNUSED_IDS:
        raise FormatError(f"is damaged: it has {len(id_of)} tokens and one of them has the id {size - 1}")
    spelling: list[str | None] = [None] * size
    for text, i in id_of.items():
        if spelling[i] is not None:
            raise FormatError(f"is damaged: {spelling[i]!r} and {text!r} have the same id {i}")
        spelling[i] = text
    return spelling


def pairs_of(merges: Any, id_of: Mapping[str, int]) -> list[Pair]:
    """The merges as pairs of ids. Older files write "left right", newer ones ["left", "right"]."""
    if not isinstance(merges, list):
        raise FormatError("is damaged: its merges are not a list")
    pairs = []
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        try:
            left, right = parts if isinstance(parts, list) else []
            pairs.append((id_of[left], id_of[right]))
        except (ValueError, KeyError, TypeError):
            raise FormatError(f"is damaged: the merge {shorten(merge)} is not a pair of its tokens") from None
    return pairs


def ordinary_pairs(pairs: Sequence[Pair], spelling: Sequence[str | None], added: Iterable[AddedToken]) -> list[Pair]:
    """The merges without those that make a special token. FormatError if leaving them out would change other ids.

    With such a merge, `tokenizers` makes a special token even of text in which none may be found. Here ordinary text
    never becomes a special token.
    """
    specials = {token.content: token for token in added if token.special}
    ordinary, parts = [], {i for pair in pairs for i in pair}
    for left, right in pairs:
        token = specials.get(f"{spelling[left]}{spelling[right]}")
        if token is None:
            ordinary.append((left, right))
        elif token.id in parts or token.single_word or "\u2581" in token.content:
            raise FormatError(
                f"asks for merges that make the special token {token.content!r}, which is not supported if other "
                "tokens are made from it, or if it is not found everywhere as a whole"
            )
    return ordinary
