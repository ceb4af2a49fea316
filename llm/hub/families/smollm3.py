"""SmolLM3 (Hugging Face 2025): a Llama in which every fourth layer does not rotate queries and keys ("NoPE")."""

from __future__ import annotations

from typing import Any

from llm.hub.families.llama import BIASES, LIKE_LLAMA
from llm.hub.families.rope import rope
from llm.hub.families.rows import Found, Row, unread
from llm.hub.families.windows import windows
from llm.hub.fields import Fields
from llm.model.config import GPTConfig

DEFAULTS = {
    "vocab_size": 128256, "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16,
    "num_key_value_heads": 4, "max_position_embeddings": 32768, "use_sliding_window": False,
    "no_rope_layer_interval": 4, "tie_word_embeddings": True,
}  # fmt: skip


def read_rotations(fields: Fields, name: str, found: Found) -> dict[str, Any]:
    """A list with 1 for each layer that rotates and 0 for the others, or all but every n-th."""
    layers, n = range(found["layers"]), fields.count("no_rope_layer_interval")
    rotates = fields.get(name, [int((layer + 1) % n != 0) for layer in layers])
    if not isinstance(rotates, list) or len(rotates) != len(layers):
        raise fields.error(name, rotates, f"a list of 0 and 1 for each of the {len(layers)} layers")
    return {"rope_layers": None if all(rotates) else tuple(layer for layer in layers if rotates[layer])}


def write_rotations(config: GPTConfig, name: str) -> dict[str, Any]:
    some = range(config.layers) if config.rope_layers is None else config.rope_layers
    return {name: [int(layer in some) for layer in range(config.layers)]}


def has_window(layer: int, fields: Fields, found: Found) -> bool:
    """Layers that do not rotate. (transformers looks at the flag only where there is no list of layer_types.)"""
    some = found["rope_layers"]
    return fields.flag("use_sliding_window") and some is not None and layer not in some


SMOLLM3 = LIKE_LLAMA.variant(
    "smollm3",
    "SmolLM3ForCausalLM",
    defaults=DEFAULTS,
    rows=BIASES
    | {
        "rope_parameters": rope(2000000.0),
        "no_rope_layers": Row(read_rotations, write_rotations),
        "sliding_window": windows(has_window),
        "use_sliding_window": Row(unread, lambda config, name: {name: config.window is not None}),
    },
)
