"""What is in a model's file or folder, as a text for a person. Weights stay in the file; those of a run are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any

from llm.hub.errors import shown
from llm.hub.generation_defaults import GenerationDefaults
from llm.hub.read import empty_model
from llm.hub.source import Source
from llm.model.config import GPTConfig
from llm.model.cost import cache_bytes
from minigrad.profiler.table import size
from tokenizer import BaseTokenizer

TEMPLATE_LINES = 8  # of a chat template that are shown
LINE = 110  # characters of such a line
MOST_TOKENS = 6  # special tokens that are shown
KINDS_OF_TOKENIZERS = {
    "Tokenizer": "byte-pair encoding, as in GPT-2",
    "SentencePieceTokenizer": "SentencePiece, as in Llama 2",
    "WordPieceTokenizer": "WordPiece, as in BERT",
    "CharTokenizer": "characters",
}

Row = tuple[str, ...] | str  # the cells of a table, or a line


def describe(source: Source, tokenizer: BaseTokenizer | None, defaults: GenerationDefaults) -> str:
    """The whole report."""
    ours = [name for name, _ in empty_model(source).named_parameters()]
    sections: dict[str, Sequence[Row]] = {
        f"{source.where}": summary(source, ours),
        "configuration: what differs from the defaults of GPTConfig": list(different_fields(source.config)),
        "tensors: in the file, and here": list(tensor_rows(source, ours)),
        "tokenizer": list(tokenizer_rows(tokenizer)),
        "chat template": template_lines(tokenizer),
        "defaults of generation": [(name, shown(value)) for name, value in defaults.to_json().items()] or ["none"],
    }
    return "\n\n".join("\n".join([title, *indented(rows)]) for title, rows in sections.items())


def indented(rows: Sequence[Row]) -> Iterator[str]:
    """Lines, with the columns of tuples aligned."""
    tables = [row for row in rows if isinstance(row, tuple)]
    widths = [max(len(row[i]) for row in tables if i < len(row)) for i in range(max(map(len, tables), default=0))]
    for row in rows:
        text = row if isinstance(row, str) else "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths))
        yield f"  {printable(text)}".rstrip()


def printable(text: str) -> str:
    """Text from a file, whose control characters could change the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


# --- numbers ----------------------------------------------------------------------------------------------------------


def summary(source: Source, ours: Iterable[str]) -> list[Row]:
    """The family, the number of parameters, and the memory for each use."""
    names = {name for ours_name in ours for name in source.parts[ours_name].names}
    tensors = [source.tensors[name] for name in sorted(names)]
    count, config = sum(prod(tensor.shape) for tensor in tensors), source.config
    as_stored = sum(tensor.nbytes for tensor in tensors)
    return [
        ("family", source.family),
        ("parameters", f"{count:,}"),
        ("weights", f"{size(as_stored)} in the file, {size(4 * count)} widened to float32"),
        ("cache", f"{size(cache_bytes(config))} for {config.context:,} tokens, {size(cache_bytes(config, 1))} a token"),
    ]


def different_fields(config: GPTConfig) -> Iterator[Row]:
    for field in fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            yield field.name, shown(value)


@dataclass
class Group:
    """Tensors of all layers that have the same form."""

    ours: str
    number: int = 0
    nbytes: int = 0


def tensor_rows(source: Source, ours: Iterable[str]) -> Iterator[Row]:
    """A line for each tensor; for one that occurs in each layer, a line for all layers together."""
    places = {theirs: name for name in ours for theirs in source.parts[name].names}
    groups: dict[tuple[str, tuple[int, ...], str], Group] = {}
    for name, tensor in source.tensors.items():
        key = (pattern(name), tensor.shape, tensor.kind)
        group = groups.setdefault(key, Group(pattern(places[name]) if name in places else "not used"))
        group.number += 1
        group.nbytes += tensor.nbytes
    for (name, shape, kind), group in groups.items():
        times = f"{group.number} x " if group.number > 1 else ""
        yield name, f"{times}{shape_text(shape)}", kind, size(group.nbytes), group.ours


def pattern(name: str) -> str:
    """The name with * for each number: "blocks.*.norm1.weight"."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def shape_text(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


# --- text -------------------------------------------------------------------------------------------------------------


def tokenizer_rows(tokenizer: BaseTokenizer | None) -> Iterator[Row]:
    if tokenizer is None:
        yield "none"
        return
    name = type(tokenizer).__name__
    yield "kind", KINDS_OF_TOKENIZERS.get(name, name)
    yield "vocabulary", f"{tokenizer.vocab_size:,} ids"
    tokens = [f"{shown(name)} {i}" for name, i in tokenizer.special_tokens.items()]
    more = f" and {len(tokens) - MOST_TOKENS:,} more" if len(tokens) > MOST_TOKENS else ""
    yield "special tokens", (", ".join(tokens[:MOST_TOKENS]) or "none") + more
    begin = [shown(tokenizer.id_to_token(i)) for i in tokenizer.template.begin_ids()]
    yield "before a text", ", ".join(begin) or "nothing"


def template_lines(tokenizer: BaseTokenizer | None) -> list[str]:
    """The first lines of the chat template, or the names of several."""
    template: Any = None if tokenizer is None else tokenizer.settings.get("chat_template")
    if isinstance(template, list):
        names = [shown(one.get("name")) for one in template if isinstance(one, dict)]
        return [f"{len(names)} templates: {', '.join(names)}"]
    if not isinstance(template, str):
        return ["none"]
    lines = template.splitlines()
    more = [f"... and {len(lines) - TEMPLATE_LINES:,} lines more"] if len(lines) > TEMPLATE_LINES else []
    return [line if len(line) <= LINE else line[:LINE] + " ..." for line in lines[:TEMPLATE_LINES]] + more
