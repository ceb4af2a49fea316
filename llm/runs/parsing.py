"""Reading a command line into a dataclass of options, with tyro: train.py and generate.py read theirs here.

The fields are the options, and the text below a field is its `--help`. A number that may be None is given as a number
or as "none"; what "none" means is said in that text.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from llm.model.rope_scaling import RopeScaling

T = TypeVar("T")

# For an option whose default is a behaviour, not a value. The text below the field describes it, so --help does not add
# "(default: none)".
DEFAULT_IN_TEXT = tyro.conf.arg(help_behavior_hint=lambda default: "" if default == "none" else f"(default: {default})")

UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
WANTED = {int: "a whole number in digits, such as 1000", float: "a number, such as 0.1 or 1e-3"}


def read_options(kind: type[T], arguments: list[str], *, program: str, default: T | None = None) -> T:
    """The options that the arguments ask for; others are those of `default`. Ends the program after --help or an error.

    A constructor that raises ValueError refuses its options: that is an error too, with exit status 2.
    """
    _set_style()
    more: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(kind, args=arguments, prog=program, registry=REGISTRY, **more)


def read_some(kind: type[T], arguments: list[str], *, program: str) -> tuple[T, list[str]]:
    """The options of `kind` that are among the arguments, and all other arguments."""
    _set_style()
    return tyro.cli(kind, args=arguments, prog=program, registry=REGISTRY, return_unknown_args=True, add_help=False)


def amount(text: str, name: str) -> float:
    """80GB -> 80e9, 312T -> 312e12. Raises ValueError for what is no positive amount."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([KMGTP]?)(?:B|FLOPS)?", text.strip(), re.IGNORECASE)
    if found is None or float(found[1]) == 0:
        raise ValueError(f"{name} {text} is not an amount; write a number with K, M, G, T or P, such as 80GB")
    return float(found[1]) * UNITS[found[2].upper()]


def flag(name: str) -> str:
    """The option on the command line of a field: "min_lr" is given as "--min-lr", "from_" as "--from"."""
    return f"--{name.rstrip('_').replace('_', '-')}"


def with_flags(sentence: str, names: Iterable[str]) -> str:
    """A sentence about fields (`names`) as one about options: "kv_heads=5" becomes "--kv-heads 5"."""
    fields = "|".join(sorted(names, key=len, reverse=True))
    sentence = re.sub(rf"\b({fields})=(?=[\s,;]|$)", lambda match: flag(match[1]), sentence)  # without a value
    sentence = re.sub(rf"\b({fields})=", lambda match: f"{flag(match[1])} ", sentence)
    sentence = re.sub(r"\bNone\b", "none", sentence)
    # Without a value, only a name with an underscore is surely that of a field: "heads" is also a word.
    return re.sub(rf"\b(?<!-)(?=\w+_)({fields})\b", lambda match: flag(match[1]), sentence)


def _set_style() -> None:
    """No colours if NO_COLOR is set (https://no-color.org), no lines of boxes that standard output cannot encode."""
    style = tyro._experimental_options
    if os.environ.get("NO_COLOR"):
        style["ansi_codes"] = False
    try:
        "╭─│".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        style["utf8_boxes"] = False


REGISTRY = ConstructorRegistry()


@REGISTRY.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Numbers, and numbers that may be None, with a sentence for what is no number."""
    kind, optional = _without_none(info.type)
    if kind not in WANTED:
        return None

    def parse(words: list[str]) -> Any:
        if optional and words[0].lower() == "none":
            return None
        try:
            return kind(words[0])
        except ValueError:
            raise ValueError(f"{words[0]!r} is not {WANTED[kind]}" + (", nor none" if optional else "")) from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper() + ("|none" if optional else ""),
        instance_from_str=parse,
        is_instance=lambda x: x is None and optional or isinstance(x, kind) or kind is float and isinstance(x, int),
        str_from_instance=lambda x: ["none" if x is None else str(x)],
    )


@REGISTRY.primitive_rule
def _text(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Text, or a path, that may be None: None is what is not given. Every text that is given is meant, also "None"."""
    kind, optional = _without_none(info.type)
    if kind not in (str, Path) or not optional:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="STR" if kind is str else "PATH",
        instance_from_str=lambda words: kind(words[0]),
        is_instance=lambda x: x is None or isinstance(x, kind),
        str_from_instance=lambda x: ["none" if x is None else str(x)],
    )


@REGISTRY.primitive_rule
def _switch(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """True, False, or none, which leaves it to another option."""
    if _without_none(info.type) != (bool, True):
        return None
    values = {"true": True, "false": False, "none": None}

    def parse(words: list[str]) -> bool | None:
        if words[0].lower() not in values:
            raise ValueError(f"{words[0]!r} is not true, false or none")
        return values[words[0].lower()]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="true|false|none",
        instance_from_str=parse,
        is_instance=lambda x: x is None or isinstance(x, bool),
        str_from_instance=lambda x: [str(x).lower()],
    )


@REGISTRY.primitive_rule
def _numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Whole numbers in one word, such as 0,2,5. none: no number, or None where that has a meaning of its own."""
    kind, optional = _without_none(info.type)
    if kind != tuple[int, ...]:
        return None

    def parse(words: list[str]) -> tuple[int, ...] | None:
        if words[0].lower() == "none":
            return None if optional else ()
        try:
            return tuple(int(word) for word in words[0].split(",") if words[0])
        except ValueError:
            raise ValueError(f"{words[0]!r} is no list of whole numbers such as 0,2,5, nor none") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT,...|none",
        instance_from_str=parse,
        is_instance=lambda x: x is None and optional or isinstance(x, tuple) and all(type(n) is int for n in x),
        str_from_instance=lambda x: ["none" if x is None or x == () and not optional else ",".join(map(str, x))],
    )


@REGISTRY.primitive_rule
def _rope_scaling(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """A structure in one word of JSON, or none."""
    if _without_none(info.type) != (RopeScaling, True):
        return None

    def parse(words: list[str]) -> Any:
        try:
            return None if words[0].lower() == "none" else RopeScaling.from_json(json.loads(words[0]))
        except json.JSONDecodeError:
            example = '{"kind": "linear", "factor": 4}'
            raise ValueError(f"{words[0]!r} is not JSON such as '{example}', nor none") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON|none",
        instance_from_str=parse,
        is_instance=lambda x: x is None or isinstance(x, RopeScaling),
        str_from_instance=lambda x: ["none" if x is None else json.dumps(x.to_json())],
    )


_asked: list[StructTypeInfo] = []


@REGISTRY.struct_rule
def _dataclass(info: StructTypeInfo) -> StructConstructorSpec | None:
    """A dataclass as tyro itself reads it, but what it refuses is told in the words of the command line.

    A field with the metadata {"flag": False} is no option.
    """
    kind = info.type
    if not is_dataclass(kind) or _asked:
        return None
    _asked.append(info)  # so this rule, which is asked again by the next line, leaves the answer to tyro
    try:
        found = ConstructorRegistry.get_struct_spec(info)
    finally:
        _asked.pop()

    def instantiate(**values: Any) -> Any:
        try:
            return kind(**values)
        except ValueError as error:
            raise ValueError(with_flags(str(error), [field.name for field in fields(kind)])) from None

    if not isinstance(found, StructConstructorSpec):
        return None
    hidden = {field.name for field in fields(kind) if not field.metadata.get("flag", True)}
    options = [_hidden(field) if field.name in hidden else _explained(field) for field in found.fields]
    return replace(found, instantiate=instantiate, fields=tuple(options))


def _hidden(field: StructFieldSpec) -> StructFieldSpec:
    """A field that is no option."""
    return replace(field, type=_annotated(field.type, tyro.conf.Suppress))


def _explained(field: StructFieldSpec) -> StructFieldSpec:
    """A field whose --help is one paragraph, without the line ends of the source, and without "(default: )"."""
    kind = _annotated(field.type, tyro.conf.arg(help_behavior_hint="")) if field.default == () else field.type
    return replace(field, type=kind, helptext=lambda: _paragraph(field.helptext))


def _annotated(kind: Any, note: Any) -> Any:
    return Annotated[kind, note]


def _paragraph(text: str | Callable[[], str | None] | None) -> str | None:
    found = text() if callable(text) else text
    return None if found is None else " ".join(found.split())


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """The type X of `X | None` and True, or the type itself and False."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation, False
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return (kinds[0], True) if len(kinds) == 1 else (annotation, False)
