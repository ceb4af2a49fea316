"""Texts with fields of a row in them: "Question: {question.stem}\\nAnswer:". Data, no code.

{name} stands for a field, {name.inner} for a field inside a field, and {{ and }} for braces. After a bar, the text of a
field is changed: {ctx_b|capitalize}, {text|before_last: }. These changes are all there are:

    capitalize, lower, strip     as the methods of Python's strings
    before:X, after:X            the part before or after the first X
    before_last:X, after_last:X  the part before or after the last X; without an X: nothing, and all of the text
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class MissingField(ValueError):
    """A row has no field of this name, or one that is not a text or a number."""


def render(template: str, row: Mapping[str, Any]) -> str:
    """The template with the fields of the row. Raises MissingField."""

    def part(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        name, *changes = match[1].split("|")
        text = text_of(look_up(row, name), name)
        for change in changes:
            text = changed(text, change)
        return text

    return PART.sub(part, template)


def check(template: str) -> None:
    """Raise ValueError for a template that cannot be used with any row."""
    for match in PART.finditer(template):
        if match[0] in ("{", "}"):
            raise ValueError(
                f"the template {template!r} has a single brace; write {{{{ or }}}} for a brace in the text"
            )
        for change in (match[1] or "").split("|")[1:]:
            changed("", change)


def look_up(row: Any, path: str) -> Any:
    """The value of a field. In a list, the names that follow are looked up in each element."""
    value = row
    for number, name in enumerate(names := path.split(".")):
        if isinstance(value, list):
            rest = ".".join(names[number:])
            return [look_up(each, rest) for each in value]
        if not isinstance(value, Mapping) or name not in value:
            raise MissingField(path)
        value = value[name]
    return value


def text_of(value: Any, name: str) -> str:
    """A text, or a number as a text."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise MissingField(name)
    return str(value)


def changed(text: str, change: str) -> str:
    """The text after one of the changes that a template may ask for."""
    name, colon, mark = change.partition(":")
    if name in ("capitalize", "lower", "strip") and not colon:
        return getattr(text, name)()
    if name in ("before", "after", "before_last", "after_last") and mark:
        before, _, after = text.rpartition(mark) if name.endswith("last") else text.partition(mark)
        return before if name.startswith("before") else after
    raise ValueError(
        f"a template asks for {change!r}; it can ask for capitalize, lower, strip, before:X, after:X, before_last:X "
        "and after_last:X"
    )
