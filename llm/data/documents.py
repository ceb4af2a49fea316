"""A document: a text with what is known about it, and where it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Document:
    """A text to learn from, before it is tokenized."""

    text: str
    source: str = ""  # where it was read, such as "web/part-3.jsonl.gz, line 12"
    fields: Mapping[str, Any] = field(default_factory=dict)  # the other fields of its row: title, URL, date ...
