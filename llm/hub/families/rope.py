"""The rotary positions of a config.json, in its old and its new spelling, and back.

new (transformers 5)    rope_parameters {rope_type, rope_theta, partial_rotary_factor, factor ...}
old                     rope_theta, partial_rotary_factor, rope_scaling {type or rope_type, factor ...}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llm.hub.families.rows import Found, Row, head_size, none_if, refuse_unless, unread, unwritten
from llm.hub.fields import Fields
from llm.model.config import GPTConfig
from llm.model.rope_scaling import RopeScaling

KINDS = {name: name for name in ("default", "linear", "dynamic", "llama3", "yarn", "longrope")} | {"su": "longrope"}
ORIGINAL = "original_max_position_embeddings"
# The parameters of each kind, and those names that are others in RopeScaling.
PARAMETERS = {
    "linear": ["factor"],
    "dynamic": ["factor"],
    "llama3": ["factor", ORIGINAL, "low_freq_factor", "high_freq_factor"],
    "yarn": ["factor", ORIGINAL, "beta_fast", "beta_slow", "truncate", "attention_factor"],
    "longrope": [ORIGINAL, "short_factor", "long_factor", "attention_factor"],
}
OURS = {
    ORIGINAL: "original_context", "low_freq_factor": "low_factor", "high_freq_factor": "high_factor",
    "short_factor": "short_factors", "long_factor": "long_factors",
}  # fmt: skip


def rope(
    theta: float = 10000.0,
    *,
    partial: bool = False,
    base: str = "rope_theta",
    part: str = "partial_rotary_factor",
    kinds: Mapping[str, str] = KINDS,
) -> Row:
    """The row of rope. `theta`: the base if no field says it. `partial`: models of the family can rotate a part of each
    head. `base`, `part`: the names of the fields outside. `kinds`: their names of kinds -> ours.
    """

    def read(fields: Fields, name: str, found: Found) -> dict[str, Any]:
        outside = {"rope_theta": fields.get(base, theta), "partial_rotary_factor": fields.get(part, 1.0)}
        inside = fields.get("rope_scaling") or fields.get(name) or fields.defaults.get(name) or {}
        if not isinstance(inside, dict):
            raise fields.error("rope_scaling", inside, "an object with rope_type, or null")
        ours = read_parameters(fields, outside | inside, found, kinds)
        if ours["rope_dim"] is not None and not partial:
            factor = (outside | inside)["partial_rotary_factor"]
            raise fields.error("partial_rotary_factor", factor, "1.0 only in this family")
        return ours

    return Row(read, write)


def rotated_part() -> Row:
    """The part of each head that rotates, which `rope` reads: written also where it is the whole head."""
    return Row(unread, lambda config, name: {name: config.rotated / config.head_size})


def usual_head() -> Row:
    """With another width of heads, transformers would rotate by it, and yet split queries by dim / heads."""
    return Row(refuse_unless(head_size), unwritten)


# --- reading ----------------------------------------------------------------------------------------------------------


def read_parameters(
    fields: Fields, parameters: dict[str, Any], found: Found, kinds: Mapping[str, str] = KINDS
) -> dict[str, Any]:
    """The fields of GPTConfig about rope."""
    defaults = {"partial_rotary_factor": 1.0, "type": "default", "truncate": True}
    rope = Fields(parameters, defaults, f"{fields.where}: rope_parameters")
    kind = rope.choice("rope_type" if rope.get("rope_type") else "type", kinds)
    width, factor = head_size(found), rope.number("partial_rotary_factor")
    rotated = int(width * factor)
    if rotated % 2 and rotated != width:  # transformers rotates one element more then, at other angles
        raise rope.error("partial_rotary_factor", factor, f"those that rotate an even part of the {width} elements")
    return {
        "rope_base": rope.number("rope_theta"),
        "rope_dim": none_if(rotated, width),
        "rope_scaling": None if kind == "default" else _scaling(kind, rope, fields),
    }


def _scaling(kind: Any, rope: Fields, fields: Fields) -> RopeScaling:
    context = fields.count("max_position_embeddings")
    # A field beside the parameters, as Phi-3 has it, goes first. If no field says it, it is the context of the model.
    original = fields.count(ORIGINAL, rope.count(ORIGINAL, context))
    if kind in ("linear", "dynamic"):  # transformers measures the length by the context of the model here
        return RopeScaling(kind, rope.number("factor"), None if kind == "linear" else context)
    if kind == "llama3":
        low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
        return RopeScaling(kind, rope.number("factor"), original, low_factor=low, high_factor=high)
    factor = rope.number("factor", context / original)
    if kind == "yarn":
        return RopeScaling(
            kind,
            factor,
            original,
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


# --- writing ----------------------------------------------------------------------------------------------------------


def write(config: GPTConfig, _: str) -> dict[str, Any]:
    """In both spellings, where the old one can say it."""
    parameters = write_parameters(config, config.rope_base, config.rope_scaling)
    scaling = None if config.rope_scaling is None else parameters
    return write_outside(parameters) | {"rope_scaling": scaling, "rope_parameters": parameters}


def write_outside(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: parameters[name] for name in ("rope_theta", "partial_rotary_factor") if name in parameters}


def write_parameters(config: GPTConfig, base: float, scaling: RopeScaling | None) -> dict[str, Any]:
    part = {} if config.rope_dim is None else {"partial_rotary_factor": config.rope_dim / config.head_size}
    kind = "default" if scaling is None else scaling.kind
    more = {name: getattr(scaling, OURS.get(name, name)) for name in PARAMETERS.get(kind, [])}
    return {"rope_type": kind, "rope_theta": base} | part | more
