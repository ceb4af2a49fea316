"""The rows of a family's table of config.json: how a field of it is read, and how it is written.

    "hidden_size": count("dim")             their field: a whole number, which is called `dim` in GPTConfig

Most fields say what one field of GPTConfig says; the functions below make their rows. Others are a `Row` of two
functions of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llm.hub.fields import Fields
from llm.model.config import GPTConfig

Found = Mapping[str, Any]
Read = Callable[[Fields, str, Found], dict[str, Any]]
Write = Callable[[GPTConfig, str], dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """A field of config.json. Both functions take its name."""

    read: Read  # fields of GPTConfig. The last argument: those found before
    write: Write  # fields of config.json. Where they cannot say what the configuration says: what is nearest


def count(ours: str, optional: int | None = None) -> Row:
    """A whole number of at least 1. `optional`: what it is if the field is null, or absent without a default."""
    return Row(lambda fields, name, _: {ours: fields.count(name, optional)}, same(ours))


def number(ours: str, optional: float | None = None) -> Row:
    return Row(lambda fields, name, _: {ours: fields.number(name, optional)}, same(ours))


def value(ours: str) -> Row:
    """Any value that GPTConfig takes."""
    return Row(lambda fields, name, _: {ours: fields.get(name)}, same(ours))


def flag(ours: str, yes: Any = True, no: Any = False) -> Row:
    """true or false. `yes`, `no`: what our field is then."""
    return Row(
        lambda fields, name, _: {ours: yes if fields.flag(name) else no},
        lambda config, name: {name: getattr(config, ours) != no},
    )


def choice(ours: str, choices: Mapping[str, str]) -> Row:
    """One of some names: theirs -> ours. Of several names for the same, the first one is written."""
    names = {value: name for name, value in reversed(list(choices.items()))}
    return Row(
        lambda fields, name, _: {ours: fields.choice(name, choices)},
        lambda config, name: {name: names.get(getattr(config, ours), next(iter(choices)))},
    )


def layers() -> Row:
    """The number of layers."""
    return Row(lambda fields, name, _: {"layers": fields.layers(name)}, same("layers"))


def size(ours: str, usual: Callable[[Found], int]) -> Row:
    """A whole number that is often absent: then it is `usual`, for which GPTConfig has None."""

    def read(fields: Fields, name: str, found: Found) -> dict[str, Any]:
        return {ours: none_if(fields.count(name, usual(found)), usual(found))}

    return Row(read, same(ours))


def bias(*parts: Any) -> Row:
    """Whether these parts of a block have biases: "qkv", "out", "mlp". None in GPTConfig: if all others have."""

    def read(fields: Fields, name: str, found: Found) -> dict[str, Any]:
        return dict.fromkeys([f"{part}_bias" for part in parts], none_if(fields.flag(name), found.get("bias", True)))

    return Row(read, lambda config, name: {name: config.has_bias(parts[0])})


def all_biases() -> Row:
    """Whether there are biases; norms always have them."""

    def read(fields: Fields, name: str, _: Found) -> dict[str, Any]:
        return {"bias": fields.flag(name), "norm_bias": none_if(True, fields.flag(name))}

    return Row(read, lambda config, name: {name: config.has_bias("qkv")})


def written(ours: str) -> Row:
    """A field that says what another row reads."""
    return Row(unread, same(ours))


# --- parts of rows ----------------------------------------------------------------------------------------------------


def unread(fields: Fields, name: str, found: Found) -> dict[str, Any]:
    return {}


def unwritten(config: GPTConfig, name: str) -> dict[str, Any]:
    return {}


def refuse_unless(usual: Callable[[Found], Any]) -> Read:
    """Refuse other values than this one."""

    def read(fields: Fields, name: str, found: Found) -> dict[str, Any]:
        fields.refuse_unless(**{name: usual(found)})
        return {}

    return read


def same(ours: str) -> Write:
    """Write the value of our field."""
    computed = {"kv_heads": "key_heads", "head_dim": "head_size", "mlp_dim": "mlp_size", "rope_dim": "rotated"}
    return lambda config, name: {name: getattr(config, computed.get(ours, ours))}


def none_if(value: Any, usual: Any) -> Any:
    """None, for which GPTConfig computes the usual value, if the value is that."""
    return None if value == usual else value


def head_size(found: Found) -> int:
    return found.get("head_dim") or found["dim"] // found["heads"]
