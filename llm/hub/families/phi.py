"""Phi 1, 1.5 and 2 (Gunasekar et al. 2023, arXiv 2306.11644; Li et al. 2023, arXiv 2309.05463): attention and MLP side
by side after one norm, a rotation of the first half of each head, and biases everywhere, in the head too.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.gpt2 import PLAIN, PLAIN_NAMES
from llm.hub.families.llama import LLAMA, attention_parts, read_common, write_common
from llm.hub.fields import Fields
from llm.hub.weights import Part, Same, same_layers
from llm.model.config import GPTConfig

DEFAULTS: dict[str, Any] = {
    **LLAMA.defaults,
    "vocab_size": 51200,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-5,
    "partial_rotary_factor": 0.5,
}


def read(fields: Fields) -> GPTConfig:
    fields.refuse_unless(qk_layernorm=False)
    return GPTConfig(**read_common(fields, activations=PLAIN, partial=True) | {
        "norm": "layernorm",
        "norm_eps": fields.number("layer_norm_eps"),
        "bias": True,
        "head_bias": True,
        "parallel": True,
        "shared_norm": True,
    })  # fmt: skip


def write(config: GPTConfig) -> dict[str, Any]:
    return write_common(config) | {
        "hidden_act": PLAIN_NAMES.get(config.mlp, "gelu"),
        "layer_norm_eps": config.norm_eps,
        "partial_rotary_factor": config.rotated / config.head_size,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
    }


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts: dict[str, Part] = {"embedding.weight": Same("model.embed_tokens.weight")}
    same = {"norm": "model.final_layernorm", "head": "lm_head"}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        parts |= attention_parts(config, f"{ours}.attention", f"{theirs}.self_attn")
        same |= {f"{ours}.norm1": f"{theirs}.input_layernorm", f"{ours}.attention.out": f"{theirs}.self_attn.dense"}
        same |= {f"{ours}.mlp.up": f"{theirs}.mlp.fc1", f"{ours}.mlp.down": f"{theirs}.mlp.fc2"}
    return parts | same_layers(same)


PHI = Family("phi", "PhiForCausalLM", DEFAULTS, read, write, tensors, surplus=("*.rotary_emb.inv_freq",))
