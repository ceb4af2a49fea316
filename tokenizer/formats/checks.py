"""Checks that several formats share, and how their errors are worded.

A `FormatError` holds the end of a sentence, such as "is damaged: its merges are not a list". files.py puts the name of
the file before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenizer.formats.records import FormatError, Spelling

ANY = object()  # in a table of supported values: every value
SWITCH = (False, True)
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
    try:
        return isinstance(value, str) and (value.isascii() or bool(value.encode()))
    except UnicodeEncodeError:
        return False


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
    if [*id_of.values()] == [*range(size)]:  # the usual case: the tokens are in the order of their ids
        return [*id_of]
    spelling: Spelling = [None] * size
    for text, i in id_of.items():
        if spelling[i] is not None:
            raise FormatError(f"is damaged: {shorten(spelling[i])} and {shorten(text)} have the same id {i}")
        spelling[i] = text
    return spelling
