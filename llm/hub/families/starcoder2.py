"""StarCoder 2 (Lozhkov et al. 2024, arXiv 2402.19173): grouped queries, rope and a window, with the norms, biases and
MLP of GPT-2.
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
    "vocab_size": 49152,
    "hidden_size": 3072,
    "intermediate_size": 12288,
    "num_hidden_layers": 30,
    "num_attention_heads": 24,
    "num_key_value_heads": 2,
    "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 4096,
    "norm_epsilon": 1e-5,
    "use_bias": True,
    "tie_word_embeddings": True,
}


def read(fields: Fields) -> GPTConfig:
    common = read_common(fields, activations=PLAIN)
    bias = fields.flag("use_bias")
    return GPTConfig(**common | {
        "norm": "layernorm",
        "norm_eps": fields.number("norm_epsilon"),
        "bias": bias,
        "norm_bias": None if bias else True,
        "window": fields.get("sliding_window"),
    })  # fmt: skip


def write(config: GPTConfig) -> dict[str, Any]:
    return write_common(config) | {
        "hidden_act": PLAIN_NAMES.get(config.mlp, "gelu"),
        "norm_epsilon": config.norm_eps,
        "use_bias": config.has_bias("qkv"),
        "sliding_window": config.window,
        "residual_dropout": config.dropout,
        "embedding_dropout": config.dropout,
    }


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts: dict[str, Part] = {
        "embedding.weight": Same("model.embed_tokens.weight"),
        "head.weight": Same("lm_head.weight"),
    }
    same = {"norm": "model.norm"}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        same |= {f"{ours}.norm1": f"{theirs}.input_layernorm", f"{ours}.norm2": f"{theirs}.post_attention_layernorm"}
        same |= {f"{ours}.mlp.up": f"{theirs}.mlp.c_fc", f"{ours}.mlp.down": f"{theirs}.mlp.c_proj"}
        parts |= attention_parts(config, f"{ours}.attention", f"{theirs}.self_attn")
    return parts | same_layers(same)


STARCODER2 = Family("starcoder2", "Starcoder2ForCausalLM", DEFAULTS, read, write, tensors)
