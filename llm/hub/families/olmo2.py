"""OLMo 2 (Walsh et al. 2025, arXiv 2501.00656): a Llama that normalises the outputs of sublayers, not their inputs, and
queries and keys over all heads at once.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.llama import LLAMA, read_common, write_common
from llm.hub.families.llama import tensors as llama_tensors
from llm.hub.fields import Fields
from llm.hub.weights import Part, Same
from llm.model.config import GPTConfig

DEFAULTS: dict[str, Any] = {**LLAMA.defaults, "vocab_size": 50304, "rms_norm_eps": 1e-5}


def read(fields: Fields) -> GPTConfig:
    attention = fields.flag("attention_bias") or None
    return GPTConfig(
        **read_common(fields),
        norm_position="output",
        qk_norm=True,
        qk_norm_all=True,
        qkv_bias=attention,
        out_bias=attention,
    )


def write(config: GPTConfig) -> dict[str, Any]:
    return write_common(config) | {"attention_bias": config.has_bias("qkv")}


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts = llama_tensors(config)
    for i in range(config.layers):
        parts[f"blocks.{i}.norm1.weight"] = Same(f"model.layers.{i}.post_attention_layernorm.weight")
        parts[f"blocks.{i}.norm2.weight"] = Same(f"model.layers.{i}.post_feedforward_layernorm.weight")
    return parts


OLMO2 = Family("olmo2", "Olmo2ForCausalLM", DEFAULTS, read, write, tensors)
