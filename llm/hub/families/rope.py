"""The rotary positions of a config.json, in its old and its new spelling, and back.

new (transformers 5)    rope_parameters {rope_type, rope_theta, partial_rotary_factor, factor ...}
old                     rope_theta, partial_rotary_factor, rope_scaling {type or rope_type, factor ...}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from llm.hub.fields import Fields
from llm.model.config import GPTConfig
from llm.model.rope_scaling import RopeScaling

KINDS = {name: name for name in ("default", "linear", "dynamic", "llama3", "yarn", "longrope")} | {"su": "longrope"}


def read_rope(
    fields: Fields,
    head_size: int,
    *,
    default_theta: float = 10000.0,
    names: Mapping[str, str] = MappingProxyType({}),
    kinds: Mapping[str, str] = MappingProxyType({}),
    partial: bool = False,
) -> dict[str, Any]:
    """The fields of GPTConfig about rope. `names`: other names of the fields outside, `kinds`: other names of kinds.

    `partial`: whether models of the family can rotate a part of each head.
    """
    outside = {name: fields.get(names.get(name, name)) for name in ("rope_theta", "partial_rotary_factor")}
    inside = fields.get("rope_scaling") or fields.get("rope_parameters") or fields.defaults.get("rope_parameters") or {}
    if not isinstance(inside, dict):
        raise fields.error("rope_scaling", inside, "an object with rope_type, or null")
    found = read_rope_parameters(fields, inside, outside, head_size, default_theta, kinds)
    if found["rope_dim"] is not None and not partial:
        factor = inside.get("partial_rotary_factor", outside["partial_rotary_factor"])
        raise fields.error("partial_rotary_factor", factor, "1.0 only in this family")
    return found


def read_rope_parameters(
    fields: Fields,
    inside: dict[str, Any],
    outside: dict[str, Any],
    head_size: int,
    default_theta: float,
    kinds: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """As `read_rope`, for the parameters `inside` of one kind of layer."""
    defaults = {"rope_theta": default_theta, "partial_rotary_factor": 1.0, "type": "default", "truncate": True}
    given = {name: value for name, value in outside.items() if value is not None}
    rope = Fields(inside, defaults | given, f"{fields.where}: rope_parameters")
    key = "rope_type" if rope.get("rope_type") else "type"
    kind = rope.choice(key, {**KINDS, **kinds})
    factor = rope.number("partial_rotary_factor")
    rotated = int(head_size * factor)
    if rotated % 2 and rotated != head_size:  # transformers rotates one element more then, at other angles
        raise rope.error("partial_rotary_factor", factor, f"those that rotate an even part of the {head_size} elements")
    return {
        "rope_base": rope.number("rope_theta"),
        "rope_dim": None if rotated == head_size else rotated,
        "rope_scaling": None if kind == "default" else _scaling(kind, rope, fields),
    }


def _scaling(kind: Any, rope: Fields, fields: Fields) -> RopeScaling:
    context = fields.count("max_position_embeddings")
    # A field beside the parameters, as Phi-3 has it, goes first. If no field says it, it is the context of the model.
    name = "original_max_position_embeddings"
    original = fields.count(name, rope.count(name, context))
    if kind == "linear":
        return RopeScaling(kind, factor=rope.number("factor"))
    if kind == "dynamic":  # transformers measures the length by the context of the model here
        return RopeScaling(kind, factor=rope.number("factor"), original_context=context)
    if kind == "llama3":
        low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
        factor = rope.number("factor")
        return RopeScaling(kind, factor=factor, original_context=original, low_factor=low, high_factor=high)
    factor = rope.number("factor", context / original)
    if kind == "yarn":
        return RopeScaling(
            kind,
            factor=factor,
            original_context=original,
            beta_fast=rope.number("beta_fast", 0) or 32.0,
            beta_slow=rope.number("beta_slow", 0) or 1.0,
            truncate=rope.flag("truncate"),
            attention_factor=rope.number("attention_factor", _yarn_attention_factor(rope, factor)),
        )
    growth = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    return RopeScaling(
        kind,
        original_context=original,
        attention_factor=rope.number("attention_factor", growth),
        short_factors=_numbers(rope, "short_factor"),
        long_factors=_numbers(rope, "long_factor"),
    )


def _numbers(rope: Fields, name: str) -> tuple[float, ...]:
    values = rope.get(name)
    if not isinstance(values, list):
        raise rope.error(name, values, "a list of numbers, one for each pair")
    return tuple(values)


def _yarn_attention_factor(rope: Fields, factor: float) -> float:
    def logarithmic(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1

    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return logarithmic(rope.number("mscale")) / logarithmic(rope.number("mscale_all_dim"))
    return logarithmic(1.0)


def write_rope(config: GPTConfig) -> dict[str, Any]:
    """The fields of config.json about rope, in both spellings where the old one can say it."""
    parameters = write_rope_parameters(config, config.rope_base, config.rope_scaling)
    outside: dict[str, Any] = {
        name: parameters[name] for name in ("rope_theta", "partial_rotary_factor") if name in parameters
    }
    return {
        **outside,
        "rope_scaling": None if config.rope_scaling is None else parameters,
        "rope_parameters": parameters,
    }


def write_rope_parameters(config: GPTConfig, base: float, scaling: RopeScaling | None) -> dict[str, Any]:
    parameters: dict[str, Any] = {"rope_type": "default", "rope_theta": base}
    if config.rope_dim is not None:
        parameters["partial_rotary_factor"] = config.rope_dim / config.head_size
    if scaling is None:
        return parameters
    parameters["rope_type"] = scaling.kind
    if scaling.kind != "longrope":
        parameters["factor"] = scaling.factor
    if scaling.kind not in ("linear", "dynamic"):
        parameters["original_max_position_embeddings"] = scaling.original_context
    if scaling.kind == "llama3":
        parameters |= {"low_freq_factor": scaling.low_factor, "high_freq_factor": scaling.high_factor}
    if scaling.kind == "yarn":
        parameters |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow, "truncate": scaling.truncate}
    if scaling.kind == "longrope":
        parameters |= {"short_factor": list(scaling.short_factors), "long_factor": list(scaling.long_factors)}
    if scaling.kind in ("yarn", "longrope"):
        parameters["attention_factor"] = scaling.attention_factor
    return parameters
