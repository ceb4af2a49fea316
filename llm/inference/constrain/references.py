"""References within a JSON schema, such as {"$ref": "#/$defs/point"}. RFC 6901."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from llm.inference.constrain.expressions import PatternError

MOST_REFERENCES = 20  # that lead to one another


def resolve(root: Any, reference: Any) -> Any:
    """The schema at `reference`, which begins with "#", in the document `root`."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise PatternError(
            f'the $ref {reference!r:.60} leads out of the schema; only such as "#/$defs/name" are supported'
        )
    place = root
    for part in unquote(reference).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(place, list) and name.isdecimal() and int(name[:9]) < len(place):
            place = place[int(name)]
        elif isinstance(place, dict) and name in place:
            place = place[name]
        else:
            raise PatternError(f"the $ref {reference!r:.60} leads to nothing in the schema")
    return place


def follow(root: Any, schema: Any) -> Any:
    """The schema, or the one that it refers to."""
    for _ in range(MOST_REFERENCES):
        if not (isinstance(schema, dict) and "$ref" in schema):
            break
        schema = resolve(root, schema["$ref"])
    return schema
