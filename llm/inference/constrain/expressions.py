"""What an expression consists of. An expression stands for a set of texts: those that match it.

    Nothing              no text at all
    Empty                the text without characters
    Characters(ranges)   one character out of a set
    Bytes(mask)          one byte out of a set: a part of a character (utf8.py)
    Sequence(a, b)       a text of a, then one of b
    Choice({a, b, ...})  a text of one of them
    Repeat(a, 2, 5)      two to five texts of a, one after another

Expressions are made by the functions below, and never by the classes themselves. The functions hold two promises:

* Equal expressions are one object. So to compare two of them takes no time, and an expression that is used in many
  places (JSON within JSON within JSON) is stored once. Written out, it could be very long: so there is no `repr`.
* No part of an expression is Nothing, unless all of it is. So whoever has an expression other than Nothing knows that a
  match exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from llm.inference.constrain.code_points import SURROGATES, Ranges, difference, union


class PatternError(ValueError):
    """A pattern or a schema that is damaged, not supported, or too large."""


@dataclass(frozen=True, eq=False, repr=False, slots=True, weakref_slot=True)
class Expression:
    """`matches_empty`: whether the text without characters matches."""

    matches_empty: bool


@dataclass(frozen=True, eq=False, repr=False, slots=True, weakref_slot=True)
class Characters(Expression):
    ranges: Ranges


@dataclass(frozen=True, eq=False, repr=False, slots=True, weakref_slot=True)
class Bytes(Expression):
    mask: int  # 256 bits: bit b is 1 if byte b is in the set


@dataclass(frozen=True, eq=False, repr=False, slots=True, weakref_slot=True)
class Sequence(Expression):
    first: Expression
    rest: Expression


@dataclass(frozen=True, eq=False, repr=False, slots=True, weakref_slot=True)
class Choice(Expression):
    options: frozenset[Expression]


@dataclass(frozen=True, eq=False, repr=False, slots=True, weakref_slot=True)
class Repeat(Expression):
    body: Expression
    low: int
    high: int | None  # None: without end


NOTHING, EMPTY = Expression(matches_empty=False), Expression(matches_empty=True)

Kind = TypeVar("Kind", bound=Expression)
EXISTING: WeakValueDictionary[tuple, Any] = WeakValueDictionary()  # what is used nowhere else leaves it by itself


def unique(kind: type[Kind], matches_empty: bool, *fields: Any) -> Kind:
    """The one expression with these fields."""
    key = (kind, *fields)
    expression = EXISTING.get(key)
    if expression is None:
        expression = EXISTING[key] = kind(matches_empty, *fields)
    return expression


def characters(ranges: Iterable[tuple[int, int]]) -> Expression:
    """One of these characters. Surrogates are left out: they are not characters."""
    valid = union(ranges)
    if any(first <= SURROGATES[1] and last >= SURROGATES[0] for first, last in valid):
        valid = difference(valid, (SURROGATES,))
    return unique(Characters, False, valid) if valid else NOTHING


def byte_set(mask: int) -> Expression:
    return unique(Bytes, False, mask) if mask else NOTHING


def literal(text: str) -> Expression:
    return sequence(*(characters([(ord(c), ord(c))]) for c in text))


def sequence(*parts: Expression) -> Expression:
    """The parts one after another."""
    if NOTHING in parts:
        return NOTHING
    *others, result = parts or (EMPTY,)
    # (ab)c is a(bc): what comes first is always at hand. The last part, which may be long, is not copied.
    for part in reversed([inner for other in others for inner in parts_of(other)]):
        if result is EMPTY:
            result = part
        elif part is not EMPTY:
            result = unique(Sequence, part.matches_empty and result.matches_empty, part, result)
    return result


def choice(*options: Expression) -> Expression:
    """One of the options."""
    # a|(b|c) is a|b|c, and single characters join: a|b is [ab].
    flat = {inner for o in options for inner in (o.options if isinstance(o, Choice) else [o])} - {NOTHING}
    single = [o for o in flat if isinstance(o, Characters)]
    if len(single) > 1:
        flat = flat.difference(single) | {characters(r for o in single for r in o.ranges)}
    if len(flat) > 1:
        return unique(Choice, any(o.matches_empty for o in flat), frozenset(flat))
    return flat.pop() if flat else NOTHING


def optional(body: Expression) -> Expression:
    return choice(body, EMPTY)


def repeat(body: Expression, low: int, high: int | None) -> Expression:
    """`body`, `low` to `high` times."""
    if (body is NOTHING and low > 0) or (high is not None and high < low):
        return NOTHING
    if body is NOTHING or body is EMPTY or high == 0:
        return EMPTY
    if isinstance(body, Repeat) and has_no_gaps(body.low, body.high, low, high):
        # (a{1000}){1000} is a{1000000}, and (a*)* is a*. Without this, such patterns would have very many states.
        high = None if body.high is None or high is None else body.high * high
        low, body = body.low * low, body.body
    low = 0 if body.matches_empty else low
    return body if low == high == 1 else unique(Repeat, low == 0, body, low, high)


def has_no_gaps(inner_low: int, inner_high: int | None, low: int, high: int | None) -> bool:
    """Whether (a{inner_low,inner_high}){low,high} allows each number of `a` between its smallest and its largest."""
    # k repetitions have k * inner_low to k * inner_high parts. The next k must begin where these end, or before.
    # This is hardest for the smallest k, as the intervals become longer.
    if low == high:
        return True
    if inner_high is None:
        return low > 0 or inner_low <= 1
    return (low + 1) * inner_low <= low * inner_high + 1


def separated(item: Expression, separator: Expression, low: int, high: int | None) -> Expression:
    """`low` to `high` items with a separator between two of them."""
    if high == 0:
        return NOTHING if low else EMPTY
    more = repeat(sequence(separator, item), max(low - 1, 0), None if high is None else high - 1)
    items = sequence(item, more)
    return items if low else optional(items)


def replace_characters(expression: Expression, replacement: Callable[[Ranges], Expression]) -> Expression:
    """The expression with something else for each of its sets of characters."""

    @cache  # a part that is used in many places is replaced once
    def replaced(e: Expression) -> Expression:
        match e:
            case Characters():
                return replacement(e.ranges)
            case Sequence():
                return sequence(*map(replaced, parts_of(e)))
            case Choice():
                return choice(*map(replaced, e.options))
            case Repeat():
                return repeat(replaced(e.body), e.low, e.high)
        return e

    return replaced(expression)


def parts_of(expression: Expression) -> list[Expression]:
    """The parts of a sequence, from left to right."""
    parts = []
    while isinstance(expression, Sequence):
        parts.append(expression.first)
        expression = expression.rest
    return [*parts, expression]
