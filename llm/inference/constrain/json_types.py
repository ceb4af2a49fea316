"""The types of JSON schemas, and the keywords that each of them has."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from llm.inference.constrain import json_values, regex
from llm.inference.constrain.expressions import Expression, PatternError, choice, literal

MOST_COUNT = regex.MOST_REPETITIONS  # of characters and items


@dataclass(frozen=True)
class Place:
    """Where in a schema: its path, and how many schemas and references are around it."""

    path: str = "#"
    depth: int = 0
    references: int = 0

    def inside(self, *names: str | int) -> Place:
        return Place("/".join(map(str, (self.path, *names))), self.depth + 1, self.references)

    def error(self, problem: str) -> PatternError:
        path = self.path if len(self.path) <= 80 else f"...{self.path[-77:]}"
        return PatternError(f"the JSON schema at {path} {problem}")

    def refuse(self, keywords: Iterable[str], more: str = "") -> None:
        """An error that names the first of the keywords, if there are any."""
        for keyword in sorted(keywords):
            raise self.error(f"has {keyword!r}{more}, which is not supported")


Parse = Callable[[Any, Place], Expression]  # SchemaParser.parse, for the schemas of items and properties


def string(schema: dict, place: Place, parse: Parse) -> Expression:
    if "pattern" not in schema:
        return json_values.string(*counts(schema, "minLength", "maxLength", place))
    place.refuse(schema.keys() & {"minLength", "maxLength"}, " beside pattern")
    if not isinstance(schema["pattern"], str):
        raise place.error("has a pattern that is not text")
    return json_values.string_of(regex.parse_search(schema["pattern"]))


def integer(schema: dict, place: Place, parse: Parse) -> Expression:
    # 2.5 as a minimum is 3, and as an exclusive minimum too.
    lows = [bound(schema, "minimum", place, math.ceil)]
    lows.append(bound(schema, "exclusiveMinimum", place, lambda n: math.floor(n) + 1))
    highs = [bound(schema, "maximum", place, math.floor)]
    highs.append(bound(schema, "exclusiveMaximum", place, lambda n: math.ceil(n) - 1))
    low = max((n for n in lows if n is not None), default=None)
    high = min((n for n in highs if n is not None), default=None)
    return json_values.integer(low, high)


def number(schema: dict, place: Place, parse: Parse) -> Expression:
    if bound(schema, "minimum", place, math.ceil) and schema["minimum"] != 0:
        place.refuse(["minimum"], " other than 0 for numbers that are not integers")
    return json_values.number(negative="minimum" not in schema)


def boolean(schema: dict, place: Place, parse: Parse) -> Expression:
    return choice(literal("true"), literal("false"))


def null(schema: dict, place: Place, parse: Parse) -> Expression:
    return literal("null")


def array(schema: dict, place: Place, parse: Parse) -> Expression:
    item = parse(schema.get("items", True), place.inside("items"))
    return json_values.array(item, *counts(schema, "minItems", "maxItems", place))


def object_(schema: dict, place: Place, parse: Parse) -> Expression:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    are_names = isinstance(required, list) and all(isinstance(name, str) for name in required)
    if not isinstance(properties, dict) or not are_names:
        raise place.error("must have an object of properties, and a list of the names of those that are required")
    others = parse(schema.get("additionalProperties", True), place.inside("additionalProperties"))
    if not properties and not required:
        return json_values.map_of(others)
    members = []
    for name, part in properties.items():
        members.append((name, parse(part, place.inside("properties", name)), name in required))
    members += [(name, others, True) for name in dict.fromkeys(required) if name not in properties]
    return json_values.object_of(members)


class JSONType(NamedTuple):
    expression: Callable[[dict, Place, Parse], Expression]  # of a schema of this type
    keywords: set[str]
    python_types: tuple[type, ...]  # of its values


TYPES = {
    "string": JSONType(string, {"minLength", "maxLength", "pattern"}, (str,)),
    "integer": JSONType(integer, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}, (int,)),
    "number": JSONType(number, {"minimum"}, (int, float)),
    "boolean": JSONType(boolean, set(), (bool,)),
    "null": JSONType(null, set(), (type(None),)),
    "array": JSONType(array, {"items", "minItems", "maxItems"}, (list,)),
    "object": JSONType(object_, {"properties", "required", "additionalProperties"}, (dict,)),
}


def counts(schema: dict, least: str, most: str, place: Place) -> tuple[int, int | None]:
    """The values of two keywords that are counts."""
    low, high = schema.get(least, 0), schema.get(most)
    for name, count in ((least, low), (most, 0 if high is None else high)):
        if not is_number(count) or count != int(count) or not 0 <= count <= MOST_COUNT:
            raise place.error(f"has {name} = {count!r:.40}, which is not a whole number from 0 to {MOST_COUNT:,}")
    return int(low), None if high is None else int(high)


def bound(schema: dict, keyword: str, place: Place, as_integer: Callable[[float], int]) -> int | None:
    """The value of a keyword that limits numbers, made an integer; None if it is not given."""
    if keyword not in schema:
        return None
    if not is_number(schema[keyword]):
        raise place.error(f"has {keyword} = {schema[keyword]!r:.40}, which is not a number")
    return as_integer(schema[keyword])


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
