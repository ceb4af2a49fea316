"""SmolLM3 (Hugging Face 2025): a Llama in which every fourth layer does not rotate queries and keys ("NoPE")."""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.llama import LLAMA, read_bias, read_common, tensors, write_bias, write_common
from llm.hub.families.windows import read_windows, write_windows
from llm.hub.fields import Fields
from llm.model.config import GPTConfig

DEFAULTS: dict[str, Any] = {
    **LLAMA.defaults,
    "vocab_size": 128256,
    "hidden_size": 2048,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "no_rope_layer_interval": 4,
    "tie_word_embeddings": True,
}


def read(fields: Fields) -> GPTConfig:
    common = read_common(fields, default_theta=2000000.0)
    layers = range(common["layers"])
    every = fields.count("no_rope_layer_interval")
    rotates = fields.get("no_rope_layers", [int((layer + 1) % every != 0) for layer in layers])  # 1: the layer rotates
    if not isinstance(rotates, list) or len(rotates) != len(layers):
        raise fields.error("no_rope_layers", rotates, f"a list of 0 and 1 for each of the {len(layers)} layers")
    use = fields.flag("use_sliding_window")  # transformers looks at it only where there is no list of layer_types
    return GPTConfig(
        **common,
        **read_bias(fields),
        rope_layers=None if all(rotates) else tuple(layer for layer in layers if rotates[layer]),
        **read_windows(fields, fields.get("sliding_window"), [use and not rotates[layer] for layer in layers]),
    )


def write(config: GPTConfig) -> dict[str, Any]:
    some = range(config.layers) if config.rope_layers is None else config.rope_layers
    rotates = [int(layer in some) for layer in range(config.layers)]
    more = {"no_rope_layers": rotates, "use_sliding_window": config.window is not None}
    return write_common(config) | write_bias(config) | write_windows(config) | more


SMOLLM3 = Family("smollm3", "SmolLM3ForCausalLM", DEFAULTS, read, write, tensors)
