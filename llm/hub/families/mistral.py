"""Mistral (Jiang et al. 2023, arXiv 2310.06825): a Llama whose layers all have a window."""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.llama import LLAMA, read_common, tensors, write_common
from llm.hub.families.windows import read_windows
from llm.hub.fields import Fields
from llm.model.config import GPTConfig

DEFAULTS: dict[str, Any] = {
    **LLAMA.defaults,
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 4096 * 32,
    "sliding_window": 4096,
}


def read(fields: Fields) -> GPTConfig:
    common = read_common(fields)
    windows = read_windows(fields, fields.get("sliding_window"), [True] * common["layers"])
    if windows.get("window_layers") is not None:
        raise fields.error("layer_types", fields.get("layer_types"), "the same for all layers of this family")
    return GPTConfig(**common, **windows)


def write(config: GPTConfig) -> dict[str, Any]:
    return write_common(config) | {"sliding_window": config.window}


MISTRAL = Family("mistral", "MistralForCausalLM", DEFAULTS, read, write, tensors)
