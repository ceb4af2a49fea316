"""StableLM (Bellagente et al. 2024, arXiv 2402.17834): a Llama with LayerNorm, and a rotation of the first quarter of
each head.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.llama import LLAMA, read_common, write_common
from llm.hub.families.llama import tensors as llama_tensors
from llm.hub.fields import Fields
from llm.hub.weights import Part, Same
from llm.model.config import GPTConfig

DEFAULTS: dict[str, Any] = {
    **LLAMA.defaults,
    "vocab_size": 50304,
    "intermediate_size": 6912,
    "hidden_size": 2560,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "layer_norm_eps": 1e-5,
    "partial_rotary_factor": 0.25,
}


def read(fields: Fields) -> GPTConfig:
    head_size = fields.count("hidden_size") // fields.count("num_attention_heads")
    fields.refuse_unless(qk_layernorm=False, head_dim=head_size)
    parallel = fields.flag("use_parallel_residual")
    return GPTConfig(**read_common(fields, partial=True) | {
        "norm": "layernorm",
        "norm_eps": fields.number("layer_norm_eps"),
        "head_dim": None,
        "norm_bias": True,
        "qkv_bias": fields.flag("use_qkv_bias") or None,
        "parallel": parallel,
        "shared_norm": parallel,
    })  # fmt: skip


def write(config: GPTConfig) -> dict[str, Any]:
    return write_common(config) | {
        "layer_norm_eps": config.norm_eps,
        "partial_rotary_factor": config.rotated / config.head_size,
        "use_qkv_bias": config.has_bias("qkv"),
        "use_parallel_residual": config.parallel,
        "hidden_dropout": config.dropout,
    }


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts = llama_tensors(config) | {"norm.bias": Same("model.norm.bias")}
    for i in range(config.layers):
        parts[f"blocks.{i}.norm1.bias"] = Same(f"model.layers.{i}.input_layernorm.bias")
        parts[f"blocks.{i}.norm2.bias"] = Same(f"model.layers.{i}.post_attention_layernorm.bias")
    return parts


STABLELM = Family("stablelm", "StableLmForCausalLM", DEFAULTS, read, write, tensors, surplus=LLAMA.surplus)
