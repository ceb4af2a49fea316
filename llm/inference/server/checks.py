"""Checks of the fields of a body.

A check takes the value and returns it, sometimes in a better form, or raises ValueError with what it must be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Check = Callable[[Any], Any]


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")
    return value


def whole_number(least: int, most: int) -> Check:
    def check(value: Any) -> int:
        if not is_whole(value) or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    return check


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e300 < value < 1e300:
        raise ValueError("a number")
    return float(value)


def one_of(*names: str) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(" or ".join(map(repr, names)))
        return value

    return check


def ids(value: Any) -> list[int]:
    if not isinstance(value, list) or not value or not all(map(is_whole, value)):
        raise ValueError("a list of at least one id")
    return value


def prompts(value: Any) -> list[str | list[int]]:
    """A text, ids, or a list of either, as a list."""
    values = [value] if isinstance(value, str) or is_ids(value) else value
    if not isinstance(values, list) or not values or not all(isinstance(each, str) or is_ids(each) for each in values):
        raise ValueError("a text, a list of ids, or a list of either")
    return values


def stop_strings(value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) and each for each in values):
        raise ValueError("a text or a list of texts, none of them empty")
    if len(values) > 1000 or sum(map(len, values)) > 100_000:  # each is looked for at every token
        raise ValueError("at most 1,000 texts with 100,000 characters together")
    return values


def logit_bias(value: Any) -> dict[int, float]:
    """{id: number}; the ids are texts, because they are keys of a JSON object."""
    expected = "an object of ids, each with a number from -100 to 100"
    if not isinstance(value, dict) or not all(key.isascii() and key.isdigit() and len(key) < 10 for key in value):
        raise ValueError(expected)
    try:
        bias = {int(key): number(each) for key, each in value.items()}
    except ValueError:
        raise ValueError(expected) from None
    if len(bias) < len(value) or not all(abs(each) <= 100 for each in bias.values()):
        raise ValueError(expected)
    return bias


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_whole, value))


def any_ids(value: Any) -> list[int]:
    """Also none."""
    return [] if value == [] else ids(value)
