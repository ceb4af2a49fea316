"""JSON values as expressions. RFC 8259.

What is written is a part of JSON, so that every parser reads it, and reads the same:

* There is no white space, except that one space may stand after each `:` and `,`.
* Strings have no raw control characters. `\\u` escapes of surrogates come in pairs.
* Integers have at most 15 digits: a 64-bit float holds them exactly. Other numbers have at most 15 digits before and
  after the point, and an exponent of at most two digits: they are finite. There is no NaN.
* Values whose schema is not known have at most DEEPEST arrays and objects within one another.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from llm.inference.constrain.code_points import EVERY_CHARACTER, Ranges, difference, intersection, ranges_of
from llm.inference.constrain.expressions import (
    NOTHING,
    Expression,
    PatternError,
    characters,
    choice,
    literal,
    repeat,
    replace_characters,
    separated,
    sequence,
)
from llm.inference.constrain.regex import parse

DEEPEST = 16
MOST_DIGITS = 15
LARGEST = 10**MOST_DIGITS - 1

COLON, COMMA = parse(": ?"), parse(", ?")
MUST_BE_ESCAPED: Ranges = ((0, 0x1F), *ranges_of('"\\'))
# A character of a string: itself, a short escape, one by number, or a pair of surrogates by number.
CHARACTER = choice(
    characters(difference(EVERY_CHARACTER, MUST_BE_ESCAPED)),
    parse(r'\\["\\/bfnrt]'),
    parse(r"\\u([0-9A-CEFa-cef][0-9A-Fa-f]{3}|[Dd][0-7][0-9A-Fa-f]{2})"),
    parse(r"\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}"),
)
DIGIT = parse("[0-9]")
DIGITS = f"(0|[1-9][0-9]{{0,{MOST_DIGITS - 1}}})"
FRACTION = rf"(\.[0-9]{{1,{MOST_DIGITS}}})?([eE][+-]?[0-9]{{1,2}})?"


def string(low: int = 0, high: int | None = None) -> Expression:
    """A string of `low` to `high` characters."""
    return quoted(repeat(CHARACTER, low, high))


def quoted(inside: Expression) -> Expression:
    return sequence(literal('"'), inside, literal('"'))


def string_of(text: Expression) -> Expression:
    """A string whose text matches `text`."""
    return quoted(replace_characters(text, escaped))


def escaped(ranges: Ranges) -> Expression:
    """One of some characters, as it is written within a string."""
    special = [chr(c) for first, last in intersection(ranges, MUST_BE_ESCAPED) for c in range(first, last + 1)]
    plain = characters(difference(ranges, MUST_BE_ESCAPED))
    return choice(plain, *(literal(json.dumps(c)[1:-1]) for c in special))


def number(*, negative: bool = True) -> Expression:
    return parse(("-?" if negative else "") + DIGITS + FRACTION)


def integer(low: int | None = None, high: int | None = None) -> Expression:
    """A whole number from `low` to `high`, both included."""
    low = -LARGEST if low is None else max(low, -LARGEST)
    high = LARGEST if high is None else min(high, LARGEST)
    if (low, high) == (-LARGEST, LARGEST):
        return parse(f"-?{DIGITS}")
    positive = natural_numbers(max(low, 0), high)
    return choice(positive, sequence(literal("-"), natural_numbers(max(-high, 1), -low)))


def natural_numbers(low: int, high: int) -> Expression:
    """The numbers from `low`, which is not negative, to `high`, without zeros at their beginning."""
    options = []
    for digits in range(len(str(low)), len(str(max(high, 0))) + 1):
        # Of this length: 0 to 9, 10 to 99, 100 to 999, ...
        smallest, largest = (10 ** (digits - 1) if digits > 1 else 0), 10**digits - 1
        if (first := max(low, smallest)) <= (last := min(high, largest)):
            options.append(between(str(first), str(last)))
    return choice(*options)


def between(low: str, high: str) -> Expression:
    """The numbers from `low` to `high`, which have equally many digits. Smaller numbers begin with zeros."""
    rest = len(low) - 1
    if set(low) <= {"0"} and set(high) <= {"9"}:
        return repeat(DIGIT, len(low), len(low))
    if rest == 0:
        return parse(f"[{low}-{high}]")
    if low[0] == high[0]:
        return sequence(literal(low[0]), between(low[1:], high[1:]))
    # For example 27 to 63: 2[7-9], [3-5][0-9], 6[0-3].
    options = [sequence(literal(low[0]), between(low[1:], "9" * rest))]
    options.append(sequence(literal(high[0]), between("0" * rest, high[1:])))
    if int(low[0]) + 1 < int(high[0]):
        middle = parse(f"[{int(low[0]) + 1}-{int(high[0]) - 1}]")
        options.append(sequence(middle, repeat(DIGIT, rest, rest)))
    return choice(*options)


def array(item: Expression, low: int = 0, high: int | None = None) -> Expression:
    return sequence(literal("["), separated(item, COMMA, low, high), literal("]"))


def map_of(value: Expression) -> Expression:
    """An object with any names, whose values match `value`."""
    return sequence(literal("{"), separated(sequence(string(), COLON, value), COMMA, 0, None), literal("}"))


def object_of(properties: list[tuple[str, Expression, bool]]) -> Expression:
    """An object with these (name, value, is required) in this order. Those that are not required may be left out."""
    # From the last one to the first: what may follow if nothing has been written yet, and if something has.
    if_first = if_later = literal("}")
    for name, value, is_required in reversed(properties):
        member = sequence(constant(name), COLON, value)
        written_first = sequence(member, if_later)
        written_later = sequence(COMMA, member, if_later)
        if_first = written_first if is_required else choice(written_first, if_first)
        if_later = written_later if is_required else choice(written_later, if_later)
    return sequence(literal("{"), if_first)


def constant(value: Any) -> Expression:
    """One value. It has one spelling, except for the spaces."""
    if isinstance(value, dict):
        return object_of([(name, constant(inner), True) for name, inner in value.items()])
    if isinstance(value, list):
        items = [part for item in value for part in (COMMA, constant(item))][1:]
        return sequence(literal("["), *items, literal("]"))
    try:
        return literal(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError):
        raise PatternError(f"{value!r:.60} is not a value of JSON") from None


@cache
def any_value(depth: int = DEEPEST) -> Expression:
    """Any value; `depth`: how many arrays and objects may be within one another."""
    inside = any_value(depth - 1) if depth else NOTHING
    containers = [array(inside), map_of(inside)] if depth else []
    return choice(string(), number(), literal("true"), literal("false"), literal("null"), *containers)
