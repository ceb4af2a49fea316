"""Which layers have a window, in a config.json: a list of the kind of each layer, or a rule that is older than it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llm.hub.families.rows import Found, Row
from llm.hub.fields import Fields
from llm.model.config import GPTConfig

SLIDING, FULL = "sliding_attention", "full_attention"
Rule = Callable[[int, Fields, Found], bool]


def windows(rule: Rule, *, switch: str = "", required: bool = False) -> Row:
    """The row of the field with the size of the window. `rule`: whether a layer has one, if no list of layers says so.

    `switch`: a flag that must be true. `required`: transformers needs a size, even if no layer has a window.
    """

    def read(fields: Fields, name: str, found: Found) -> dict[str, Any]:
        size = None if switch and not fields.flag(switch) else fields.get(name)
        return read_windows(fields, size, [rule(layer, fields, found) for layer in range(found["layers"])])

    def write(config: GPTConfig, name: str) -> dict[str, Any]:
        size = config.window or config.context if required else config.window
        used = {switch: config.window is not None} if switch else {}
        return {name: size, "layer_types": kinds_of_layers(config, SLIDING, FULL)} | used

    return Row(read, write)


def read_windows(fields: Fields, window: int | None, by_rule: Sequence[bool]) -> dict[str, Any]:
    """The fields of GPTConfig about windows. `by_rule`: which layers have one if no list says so."""
    layers = fields.get("layer_types")
    if layers is None:
        has_window = by_rule
    elif isinstance(layers, list) and len(layers) == len(by_rule) and set(layers) <= {SLIDING, FULL}:
        has_window = [kind == SLIDING for kind in layers]
    else:
        raise fields.error("layer_types", layers, f"{SLIDING} or {FULL} for each of the {len(by_rule)} layers")
    return some_layers(window, has_window)


def some_layers(window: int | None, has_window: Sequence[bool]) -> dict[str, Any]:
    """The fields of GPTConfig for a window in some layers."""
    if window is None or not any(has_window):
        return {"window": None}
    numbers = tuple(layer for layer, has in enumerate(has_window) if has)
    return {"window": window, "window_layers": None if all(has_window) else numbers}


def kinds_of_layers(config: GPTConfig, local: str, full: str) -> list[str]:
    """`local` for each layer with a window, `full` for the others."""
    some = range(config.layers) if config.window_layers is None else config.window_layers
    return [local if config.window is not None and layer in some else full for layer in range(config.layers)]
