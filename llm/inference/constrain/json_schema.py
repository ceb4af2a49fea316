"""A JSON schema as an expression: the JSON texts that it allows. JSON Schema, draft 2020-12.

Supported:

    type            one or a list of string, number, integer, boolean, null, object, array
    enum, const
    string          minLength, maxLength; or pattern, in the syntax of regex.py, found anywhere in the string
    integer         minimum, maximum, exclusiveMinimum, exclusiveMaximum
    number          minimum 0
    array           items, minItems, maxItems
    object          properties, required, additionalProperties
    anyOf, oneOf    oneOf only if no value can be valid by two of its schemas (exclusive.py)
    allOf           of one schema
    $ref            to a place in the same document, such as "#/$defs/point" (references.py)

All that is written is valid. But not everything that is valid can be written: properties come in the order of the
schema, and other properties only if they are required or if the schema names none; recursion ends after DEEPEST
references within one another; json_values.py says what is left out of JSON itself. Titles and descriptions are ignored,
and other keywords that change nothing of what is valid (IGNORED). Every other keyword is refused with a PatternError,
which names it and its place.
"""

from __future__ import annotations

from typing import Any

from llm.inference.constrain import json_values
from llm.inference.constrain.exclusive import exclude_each_other, listed_values
from llm.inference.constrain.expressions import NOTHING, Expression, PatternError, choice
from llm.inference.constrain.json_types import TYPES, Place
from llm.inference.constrain.references import resolve

DEEPEST = 12  # references within one another
DEEPEST_SCHEMA = 100  # schemas within one another
MOST_SCHEMAS = 20_000

IGNORED = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
IGNORED |= {"$schema", "$id", "$comment", "$defs", "definitions", "discriminator"}  # the last is OpenAPI's, with oneOf


def parse(schema: Any) -> Expression:
    """The JSON texts that `schema`, a dict or a bool, allows."""
    try:
        expression = SchemaParser(schema).parse(schema, Place())
    except RecursionError:  # a value of `const` or `enum`: schemas within one another are counted
        raise PatternError("the JSON schema has values that are nested too deeply") from None
    if expression is NOTHING:
        raise PatternError("no value is valid by this JSON schema, or only values that are nested too deeply")
    return expression


class SchemaParser:
    def __init__(self, root: Any):
        self.root = root
        self.count = 0
        self.referred: dict[tuple[str, int], Expression] = {}  # (reference, references around it) -> its expression
        self.combinations = {
            "$ref": self.parse_reference,
            "anyOf": self.parse_any_of,
            "oneOf": self.parse_one_of,
            "allOf": self.parse_all_of,
        }

    def parse(self, schema: Any, place: Place) -> Expression:
        self.count += 1
        if self.count > MOST_SCHEMAS or place.depth > DEEPEST_SCHEMA:
            raise place.error(f"is too large: at most {MOST_SCHEMAS:,} parts, {DEEPEST_SCHEMA} within one another")
        if isinstance(schema, bool):
            return json_values.any_value() if schema else NOTHING
        if not isinstance(schema, dict):
            raise place.error(f"must be an object, true or false, not {schema!r:.40}")
        given = schema.keys() - IGNORED
        for keyword in self.combinations.keys() & given:  # if there is one, it is the only keyword
            place.refuse(given - {keyword}, f" beside {keyword}")
            return self.combinations[keyword](schema[keyword], place)
        if given & {"const", "enum"}:
            return self.parse_constants(schema, given, place)
        return self.parse_types(schema, given, place) if given else json_values.any_value()

    # --- references and combinations ---

    def parse_reference(self, reference: Any, place: Place) -> Expression:
        schema = resolve(self.root, reference)
        depth = place.references + 1
        if depth > DEEPEST:
            return NOTHING  # the option, item or property is then left out
        # In a recursive schema, the same part at the same depth is asked for many times.
        if (reference, depth) not in self.referred:
            self.referred[reference, depth] = self.parse(schema, Place(reference, place.depth + 1, depth))
        return self.referred[reference, depth]

    def parse_any_of(self, schemas: Any, place: Place) -> Expression:
        if not isinstance(schemas, list) or not schemas:
            raise place.error("must have a list of schemas in anyOf and oneOf")
        return choice(*(self.parse(schema, place.inside(i)) for i, schema in enumerate(schemas)))

    def parse_one_of(self, schemas: Any, place: Place) -> Expression:
        expression = self.parse_any_of(schemas, place)
        if not exclude_each_other(self.root, schemas):
            raise place.error(
                "has oneOf with schemas that may both be valid; use anyOf, or require a property of a different const"
            )
        return expression

    def parse_all_of(self, schemas: Any, place: Place) -> Expression:
        if not isinstance(schemas, list) or len(schemas) != 1:
            raise place.error("has allOf of several schemas, which is not supported; write them as one schema")
        return self.parse(schemas[0], place.inside(0))

    # --- values ---

    def parse_constants(self, schema: dict, given: set[str], place: Place) -> Expression:
        place.refuse(given - {"const", "enum", "type"}, " beside const or enum")
        values = listed_values(schema)
        if values is None or {"const", "enum"} <= given:
            raise place.error("must have a list of values in enum, or else one value in const")
        if "type" in schema:
            types = [TYPES[name].python_types for name in self.type_names(schema, given, place)]
            values = [value for value in values if any(type(value) in each for each in types)]
        return choice(*map(json_values.constant, values))

    def parse_types(self, schema: dict, given: set[str], place: Place) -> Expression:
        types = self.type_names(schema, given, place)
        place.refuse(given - {"type"}.union(*(TYPES[name].keywords for name in types)))
        return choice(*(TYPES[name].expression(schema, place, self.parse) for name in types))

    def type_names(self, schema: dict, given: set[str], place: Place) -> list[str]:
        """The names of the types that a schema allows. If it does not say so, the first one that has its keywords."""
        if "type" not in schema:
            return [name for name, each in TYPES.items() if given <= each.keywords][:1]
        named = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        for name in named:
            if not isinstance(name, str) or name not in TYPES:
                raise place.error(f"has the type {name!r:.40}; the types are {', '.join(TYPES)}")
        return named
