"""Checking the fields of a body by a table: field -> check (checks.py).

A field that is null counts as one that is not given. A field that is not in the table is refused, because who sends it
expects that it changes the answer. Some fields are known to change nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from llm.inference.nesting import TooDeep, nesting_checked
from llm.inference.server.checks import Check
from llm.inference.server.errors import Refusal

# Fields of OpenAI's API that name the user, or say how the request is to be billed, stored or made faster.
HARMLESS = frozenset(
    {"model", "user", "metadata", "store", "service_tier", "safety_identifier", "prediction"}
    | {"prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls"}
)
TOOLS = "tools and functions are not supported; describe them in a message, and use response_format for the answer"
# Fields that are refused by name, and the values with which they ask for nothing.
REFUSED: Mapping[str, tuple[str, Collection[Any]]] = {
    "tools": (TOOLS, ()),
    "tool_choice": (TOOLS, ("none", "auto")),
    "functions": (TOOLS, ()),
    "function_call": (TOOLS, ("none", "auto")),
    "best_of": ("best_of is not supported; ask for n texts, and choose one of them", (1,)),
    "suffix": ("suffix is not supported: the model only continues a text", ("",)),
    "audio": ("audio is not supported", ()),
    "modalities": ("only text is supported", (["text"],)),
    "logits_processors": ("logits_processors are not supported", ()),
}


def read_fields(body: Any, table: Mapping[str, Check]) -> dict[str, Any]:
    """The fields that are given, checked. Raises Refusal."""
    if not isinstance(body, dict):
        raise Refusal(f"the body must be a JSON object, got {shown(body)}")
    fields = {}
    for name, value in body.items():
        if name in table and value is not None:
            fields[name] = check_field(name, value, table[name])
        elif name not in table and value is not None and name not in HARMLESS:
            refuse(name, value, table)
    return fields


def check_field(name: str, value: Any, check: Check) -> Any:
    try:
        with nesting_checked():
            return check(value)
    except TooDeep as error:
        raise Refusal(f"{name} cannot be read: {error}", param=name) from None
    except ValueError as expected:
        raise Refusal(f"{name} must be {expected}, got {shown(value)}", param=name) from None


def refuse(name: str, value: Any, table: Mapping[str, Check]) -> None:
    """Refuse a field that is not in the table, unless its value asks for nothing."""
    if name not in REFUSED:
        names = ", ".join(sorted(table))
        raise Refusal(
            f"there is no field {name!r:.60} here; the fields are {names}", param=name[:60], code="unknown_field"
        )
    sentence, harmless = REFUSED[name]
    if value != [] and value not in harmless:
        raise Refusal(sentence, param=name, code="unsupported_field")


def refuse_both(fields: Mapping[str, Any], first: str, second: str) -> None:
    """Refuse two fields that say the same in two ways."""
    if fields.get(first) is not None and fields.get(second) is not None:
        raise Refusal(f"give {first} or {second}, not both", param=second)


def require(fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise Refusal(f"the field {name} is missing", param=name, code="missing_field")
    return fields[name]


def shown(value: Any) -> str:
    """A value for a message: the beginning of a text, and of lists and objects only what they are."""
    # A nested value is not written out: it may be deeper than `repr` can follow.
    if isinstance(value, (list, dict)):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    text = repr(value[:60]) if isinstance(value, str) else repr(value)
    return {"None": "null", "True": "true", "False": "false"}.get(text, text)
