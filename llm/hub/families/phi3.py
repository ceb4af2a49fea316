"""Phi-3 (Abdin et al. 2024, arXiv 2404.14219): a Llama with partial rotation, LongRoPE for its long form, and matrices
that are put together as here: queries, keys and values; gate and up-projection.
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
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
}


def read(fields: Fields) -> GPTConfig:
    # In the first of these models, "yarn" was another name of longrope.
    common = read_common(fields, rope_kinds={"yarn": "longrope"}, partial=True)
    return GPTConfig(**common, window=fields.get("sliding_window"))


def write(config: GPTConfig) -> dict[str, Any]:
    original = config.rope_scaling.original_context if config.rope_scaling else config.context
    return write_common(config) | {
        "sliding_window": config.window,
        "original_max_position_embeddings": original,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
    }


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts = llama_tensors(config)
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        parts[f"{ours}.attention.qkv.weight"] = Same(f"{theirs}.self_attn.qkv_proj.weight")
        parts[f"{ours}.mlp.up.weight"] = Same(f"{theirs}.mlp.gate_up_proj.weight")
    return parts


PHI3 = Family("phi3", "Phi3ForCausalLM", DEFAULTS, read, write, tensors)
