"""Which layers have a window, in a config.json: a list of the kind of each layer, or a rule that is older than it."""

from __future__ import annotations

from typing import Any

from llm.hub.fields import Fields
from llm.model.config import GPTConfig

SLIDING, FULL = "sliding_attention", "full_attention"


def read_windows(fields: Fields, window: int | None, by_rule: list[bool]) -> dict[str, Any]:
    """The fields of GPTConfig about windows. `by_rule`: which layers have one if no list says so."""
    layers = fields.get("layer_types")
    if layers is None:
        has_window = by_rule
    elif isinstance(layers, list) and len(layers) == len(by_rule) and set(layers) <= {SLIDING, FULL}:
        has_window = [kind == SLIDING for kind in layers]
    else:
        raise fields.error("layer_types", layers, f"{SLIDING} or {FULL} for each of the {len(by_rule)} layers")
    if window is None or not any(has_window):
        return {"window": None}
    numbers = tuple(layer for layer, has in enumerate(has_window) if has)
    return {"window": window, "window_layers": None if all(has_window) else numbers}


def write_windows(config: GPTConfig) -> dict[str, Any]:
    """The window, and the kind of each layer."""
    some = range(config.layers) if config.window_layers is None else config.window_layers
    kinds = [SLIDING if config.window is not None and layer in some else FULL for layer in range(config.layers)]
    return {"sliding_window": config.window, "layer_types": kinds}
