"""Llama 2 and 3 (Touvron et al. 2023, arXiv 2307.09288; Grattafiori et al. 2024, arXiv 2407.21783), and what all of the
families that are like it share: the names of the tensors and most fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.rope import read_rope, write_rope
from llm.hub.fields import Fields
from llm.hub.weights import Part, Same, stack
from llm.model.config import GPTConfig

# hidden_act -> ours, for MLPs with a gate
GATED = {
    "silu": "swiglu",
    "swish": "swiglu",
    "gelu": "geglu",
    "gelu_new": "geglu_tanh",
    "gelu_pytorch_tanh": "geglu_tanh",
    "gelu_fast": "geglu_tanh",
    "gelu_python": "geglu",
    "relu": "reglu",
}
GATED_NAMES = {"swiglu": "silu", "geglu": "gelu", "geglu_tanh": "gelu_pytorch_tanh", "reglu": "relu"}  # the way back

DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
}


def read_common(
    fields: Fields,
    *,
    activations: Mapping[str, str] = GATED,
    default_theta: float = 10000.0,
    rope_kinds: Mapping[str, str] = MappingProxyType({}),
    partial: bool = False,
) -> dict[str, Any]:
    """The fields of GPTConfig that Llama and the families like it share. `rope_kinds`, `partial`: see `read_rope`."""
    heads, dim = fields.count("num_attention_heads"), fields.count("hidden_size")
    head_size = fields.count("head_dim", dim // heads)
    return {
        "vocab_size": fields.count("vocab_size"),
        "context": fields.count("max_position_embeddings"),
        "layers": fields.layers("num_hidden_layers"),
        "heads": heads,
        "kv_heads": none_if(fields.count("num_key_value_heads", heads), heads),
        "dim": dim,
        "head_dim": None if head_size * heads == dim else head_size,
        "mlp_dim": fields.count("intermediate_size"),
        "positions": "rope",
        "norm": "rmsnorm",
        "norm_eps": fields.number("rms_norm_eps"),
        "mlp": fields.choice("hidden_act", activations),
        "bias": False,
        "dropout": fields.number("attention_dropout", 0.0),
        "tied_head": fields.flag("tie_word_embeddings"),
        **read_rope(fields, head_size, default_theta=default_theta, kinds=rope_kinds, partial=partial),
    }


def write_common(config: GPTConfig) -> dict[str, Any]:
    """The fields of config.json that Llama and the families like it share."""
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_heads,
        "hidden_size": config.dim,
        "head_dim": config.head_size,
        "intermediate_size": config.mlp_size,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": GATED_NAMES.get(config.mlp, "silu"),
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tied_head,
        **write_rope(config),
    }


def none_if(value: Any, default: Any) -> Any:
    """None, which means the default in GPTConfig, if the value is the default."""
    return None if value == default else value


def read_bias(fields: Fields) -> dict[str, Any]:
    attention, mlp = fields.flag("attention_bias") or None, fields.flag("mlp_bias") or None
    return {"qkv_bias": attention, "out_bias": attention, "mlp_bias": mlp}


def write_bias(config: GPTConfig) -> dict[str, Any]:
    return {"attention_bias": config.has_bias("qkv"), "mlp_bias": config.has_bias("mlp")}


def read(fields: Fields) -> GPTConfig:
    return GPTConfig(**read_common(fields), **read_bias(fields))


def write(config: GPTConfig) -> dict[str, Any]:
    return write_common(config) | write_bias(config)


def tensors(config: GPTConfig) -> dict[str, Part]:
    """Our names -> theirs."""
    parts: dict[str, Part] = {
        "embedding.weight": Same("model.embed_tokens.weight"),
        "norm.weight": Same("model.norm.weight"),
        "head.weight": Same("lm_head.weight"),
    }
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        parts[f"{ours}.norm1.weight"] = Same(f"{theirs}.input_layernorm.weight")
        parts[f"{ours}.norm2.weight"] = Same(f"{theirs}.post_attention_layernorm.weight")
        parts |= attention_parts(config, f"{ours}.attention", f"{theirs}.self_attn")
        parts |= mlp_parts(config.mlp_size, f"{ours}.mlp", f"{theirs}.mlp")
    return parts


def attention_parts(config: GPTConfig, ours: str, theirs: str) -> dict[str, Part]:
    """Queries, keys and values; the output layer; the norms of queries and keys."""
    H, K, D = config.heads, config.key_heads, config.head_size
    parts: dict[str, Part] = {
        f"{ours}.query_norm.weight": Same(f"{theirs}.q_norm.weight"),
        f"{ours}.key_norm.weight": Same(f"{theirs}.k_norm.weight"),
    }
    for kind in ("weight", "bias"):
        names = [f"{theirs}.{letter}_proj.{kind}" for letter in "qkv"]
        parts[f"{ours}.qkv.{kind}"] = stack(names, [H * D, K * D, K * D])
        parts[f"{ours}.out.{kind}"] = Same(f"{theirs}.o_proj.{kind}")
    return parts


def mlp_parts(width: int, ours: str, theirs: str) -> dict[str, Part]:
    """An MLP with a gate."""
    parts: dict[str, Part] = {}
    for kind in ("weight", "bias"):
        names = [f"{theirs}.gate_proj.{kind}", f"{theirs}.up_proj.{kind}"]
        parts[f"{ours}.up.{kind}"] = stack(names, [width, width])
        parts[f"{ours}.down.{kind}"] = Same(f"{theirs}.down_proj.{kind}")
    return parts


LLAMA = Family("llama", "LlamaForCausalLM", DEFAULTS, read, write, tensors, surplus=("*.rotary_emb.inv_freq",))
