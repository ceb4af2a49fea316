"""What every format checks, and how it complains."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import regex

from tokenizer.bpe.textbook import Pair
from tokenizer.formats.records import FormatError
from tokenizer.text.special_tokens import AddedToken

ANY = object()
SURROGATE = regex.compile("[\ud800-\udfff]")
MOST_UNUSED = 1 << 20  # ids; more between the used ones are damage, not a vocabulary


def expect(part: Any, understood: Mapping[str, Any], name: str) -> None:
    """Refuse `part` of a file, called `name`, unless each of its keys has a value that is `understood`. A key may be
    missing where Hugging Face's default is an understood one; its type may not."""
    if not isinstance(part, dict):
        raise FormatError(f"asks for {name} = {shorten(part)}, which is not supported")
    for key in ["type", *part] if "type" in understood else part:
        values = understood.get(key, ())
        if values is not ANY and part.get(key) not in values:
            where = f"{name}.{key}" if name else key
            raise FormatError(f"asks for {where} = {shorten(part.get(key))}, which is not supported")


def shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def is_text(value: Any) -> bool:
    """A string that has a UTF-8 form: JSON can spell surrogates, which have none."""
    return isinstance(value, str) and (value.isascii() or not SURROGATE.search(value))


def is_id(value: Any) -> bool:
    return type(value) is int and value >= 0


def parse_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise FormatError(f"is damaged: it is not JSON ({error})") from None
    except RecursionError:
        raise FormatError("is no tokenizer: it is nested too deeply") from None


def by_id(id_of: Mapping[str, Any]) -> list[str | None]:
    """The spelling of every id, None for those that are not used."""
    for text, i in id_of.items():
        if not is_text(text) or not is_id(i):
            raise FormatError(f"is damaged: its vocab has {shorten(text)} with the id {shorten(i)}")
    size = max(id_of.values(), default=-1) + 1
    if size > len(id_of) + MOST_UNUSED:
        raise FormatError(f"is damaged: it has {len(id_of)} tokens and one of them has the id {size - 1}")
    spelling: list[str | None] = [None] * size
    for text, i in id_of.items():
        if spelling[i] is not None:
            raise FormatError(f"is damaged: {spelling[i]!r} and {text!r} have the same id {i}")
        spelling[i] = text
    return spelling


def pairs_of(merges: Any, id_of: Mapping[str, int]) -> list[Pair]:
    """The ids of merges, which are written "left right" in older files, ["left", "right"] in newer ones."""
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
    """The merges but for those that make a special token. `tokenizers` makes one of text in which it is not to be
    looked for, or in which it comes about by normalizing; here text is never a special token, so that such a merge is
    of no use. FormatError if without it other ids would change.
    """
    specials = {token.content: token for token in added if token.special}
    ordinary, parts = [], {i for pair in pairs for i in pair}
    for left, right in pairs:
        token = specials.get(f"{spelling[left]}{spelling[right]}")
        if token is None:
            ordinary.append((left, right))
        elif token.id in parts or token.single_word or "\u2581" in token.content:
            raise FormatError(
                f"asks for merges that make the special token {token.content!r}, which is not supported if it is a "
                "part of "
                f"others, or not found as a whole wherever its text is"
            )
    return ordinary
