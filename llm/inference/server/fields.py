"""Checking the fields of a body by a table: field -> check.

A check takes the value and returns it, sometimes in a better form, or raises ValueError with what was wanted. A field
that is null counts as one that is not given.

A field that is not in the table is refused, because who sends it expects that it changes the answer. Some fields are
known to change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from llm.inference.server.errors import Refusal

Check = Callable[[Any], Any]

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
        return check(value)
    except ValueError as wanted:
        raise Refusal(f"{name} must be {wanted}, got {shown(value)}", param=name) from None
    except RecursionError:
        raise Refusal(f"{name} is nested too deeply", param=name) from None


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


# --- checks -----------------------------------------------------------------------------------------------------------


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
    wanted = "an object of ids, each with a number from -100 to 100"
    if not isinstance(value, dict) or not all(key.isascii() and key.isdigit() and len(key) < 10 for key in value):
        raise ValueError(wanted)
    try:
        bias = {int(key): number(each) for key, each in value.items()}
    except ValueError:
        raise ValueError(wanted) from None
    if len(bias) < len(value) or not all(abs(each) <= 100 for each in bias.values()):
        raise ValueError(wanted)
    return bias


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_whole, value))


def any_ids(value: Any) -> list[int]:
    """Also none."""
    return [] if value == [] else ids(value)
