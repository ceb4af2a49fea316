"""Apertus (Swiss AI 2025, arXiv 2509.14233): a Llama with norms of queries and keys, and an MLP without a gate.

With the activation ReLU squared, this is what `train.py` makes by default.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.gpt2 import PLAIN, PLAIN_NAMES
from llm.hub.families.llama import read_common, write_common
from llm.hub.families.llama import tensors as llama_tensors
from llm.hub.fields import Fields
from llm.hub.weights import Part, Same
from llm.model.config import GPTConfig

DEFAULTS: dict[str, Any] = {
    "vocab_size": 131072,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 65536,
    "hidden_act": "xielu",  # an activation with weights of its own, which this model has not
    "rms_norm_eps": 1e-5,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 12000000.0,
        "factor": 8.0,
        "original_max_position_embeddings": 8192,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
}


def read(fields: Fields) -> GPTConfig:
    attention = fields.flag("attention_bias") or None
    common = read_common(fields, activations=PLAIN, default_theta=12000000.0)
    return GPTConfig(**common, qk_norm=True, qkv_bias=attention, out_bias=attention)


def write(config: GPTConfig) -> dict[str, Any]:
    activation = PLAIN_NAMES.get(config.mlp, "gelu")
    return write_common(config) | {"hidden_act": activation, "attention_bias": config.has_bias("qkv")}


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts = llama_tensors(config)
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        parts[f"{ours}.norm1.weight"] = Same(f"{theirs}.attention_layernorm.weight")
        parts[f"{ours}.norm2.weight"] = Same(f"{theirs}.feedforward_layernorm.weight")
        parts[f"{ours}.mlp.up.weight"] = Same(f"{theirs}.mlp.up_proj.weight")
        parts[f"{ours}.mlp.down.weight"] = Same(f"{theirs}.mlp.down_proj.weight")
    return parts


APERTUS = Family("apertus", "ApertusForCausalLM", DEFAULTS, read, write, tensors)
