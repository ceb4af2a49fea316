"""Words of which items are made: countable nouns of Python's documentation, which a small model has read often."""

from __future__ import annotations

from random import Random

_TEXT = (
    "argument array assignment attribute block bracket buffer byte character class clause code comment condition "
    "constant constructor container context coroutine counter decorator default definition descriptor dictionary "
    "digit directory element ellipsis encoding entry error event exception expression field file format frame "
    "function generator group identifier import index instance integer interface item iterator key keyword label "
    "letter library line list literal location loop mapping message method mode module name namespace number object "
    "operand operation operator option order package parameter pattern point position process program prompt range "
    "reference result scope section sequence set signal slice space statement step string subclass suite symbol "
    "table target test thread token tuple type value variable version word "
)
NOUNS = _TEXT.split()

VOWELS = "aeio"  # that begin nouns after "an"; of those with u, some do and some do not


def plural(noun: str) -> str:
    if noun.endswith(("s", "x")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def some(rng: Random, count: int, without: str = "") -> list[str]:
    """Different nouns, none of which is in the text `without`."""
    return rng.sample([noun for noun in NOUNS if noun not in without], count)
