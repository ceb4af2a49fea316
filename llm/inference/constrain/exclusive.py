"""Whether two JSON schemas exclude each other, as `oneOf` needs: what is valid by one is then invalid by the other.

To know this for any two schemas is hard. Here it is seen from types, constants, and properties that both require. If it
cannot be seen, the answer is no.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from llm.inference.constrain.references import follow

DEEPEST = 8  # properties within properties
TYPE_OF = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}


def exclude_each_other(root: Any, schemas: list[Any]) -> bool:
    """Whether no value is valid by two of `schemas`, which are parts of the document `root`."""
    return all(exclude(root, a, b, DEEPEST) for a, b in combinations(schemas, 2))


def exclude(root: Any, a: Any, b: Any, depth: int) -> bool:
    """Whether two schemas surely exclude each other, seen from at most `depth` properties within one another."""
    a, b = follow(root, a), follow(root, b)
    if not isinstance(a, dict) or not isinstance(b, dict) or depth == 0:
        return False
    values_a, values_b = listed_values(a), listed_values(b)
    if values_a is not None and values_b is not None:
        return not any(x == y for x in values_a for y in values_b)
    types_a, types_b = possible_types(a), possible_types(b)
    if types_a is None or types_b is None:
        return False
    if types_a.isdisjoint(types_b):
        return True
    return types_a == types_b == {"object"} and properties_exclude(root, a, b, depth)


def properties_exclude(root: Any, a: dict, b: dict, depth: int) -> bool:
    """Whether both require a property whose value cannot be valid by both."""
    properties_a, properties_b = a.get("properties", {}), b.get("properties", {})
    required = [name for name in a.get("required", ()) if name in b.get("required", ())]
    shared = [name for name in required if name in properties_a and name in properties_b]
    return any(exclude(root, properties_a[name], properties_b[name], depth - 1) for name in shared)


def listed_values(schema: dict) -> list[Any] | None:
    """The only values that can be valid; None if the schema does not list them."""
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else None


def possible_types(schema: dict) -> set[str] | None:
    """The types that a valid value can have; None if that is not said. An integer is a number."""
    if "type" in schema:
        named = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return {"number" if name == "integer" else str(name) for name in named}
    values = listed_values(schema)
    return None if values is None else {TYPE_OF.get(type(value), "null") for value in values}
