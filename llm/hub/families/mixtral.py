"""Mixtures of experts: Mixtral (Jiang et al. 2024, arXiv 2401.04088) is a Mistral, and Qwen3-MoE (arXiv 2505.09388) a
Qwen 3, with experts in place of the MLP.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.llama import LLAMA, mlp_parts, read_common, write_common
from llm.hub.families.llama import tensors as llama_tensors
from llm.hub.fields import Fields
from llm.hub.weights import Part, Same, stack
from llm.model.config import GPTConfig

MIXTRAL_DEFAULTS: dict[str, Any] = {
    **LLAMA.defaults,
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 4096 * 32,
    "rms_norm_eps": 1e-5,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "router_aux_loss_coef": 0.001,
}
QWEN3_MOE_DEFAULTS: dict[str, Any] = {
    **LLAMA.defaults,
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 24,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "decoder_sparse_step": 1,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "router_aux_loss_coef": 0.001,
}


def read_experts(fields: Fields) -> int:
    """The number of experts: both families have had both names for it."""
    return fields.count("num_local_experts" if "num_local_experts" in fields.data else "num_experts")


def read_balance(fields: Fields) -> float:
    """The coefficient of the balancing loss, which transformers adds only if it returns the router's logits too."""
    return fields.number("router_aux_loss_coef") if fields.flag("output_router_logits") else 0.0


def write_balance(config: GPTConfig) -> dict[str, Any]:
    return {"router_aux_loss_coef": config.balance_loss, "output_router_logits": config.balance_loss > 0}


def read_mixtral(fields: Fields) -> GPTConfig:
    fields.refuse_unless(router_jitter_noise=0.0)
    return GPTConfig(
        **read_common(fields, default_theta=1e6),
        window=fields.get("sliding_window"),
        experts=read_experts(fields),
        experts_per_token=fields.count("num_experts_per_tok"),
        balance_loss=read_balance(fields),
    )


def write_mixtral(config: GPTConfig) -> dict[str, Any]:
    more = {"num_local_experts": config.experts or 1, "num_experts_per_tok": config.experts_per_token}
    return write_common(config) | {"sliding_window": config.window} | more | write_balance(config)


def mixtral_tensors(config: GPTConfig) -> dict[str, Part]:
    parts = llama_tensors(config)
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}.mlp", f"model.layers.{i}.block_sparse_moe"
        parts[f"{ours}.router.weight"] = Same(f"{theirs}.gate.weight")
        for e in range(config.experts or 0):
            names = [f"{theirs}.experts.{e}.{name}.weight" for name in ("w1", "w3")]  # the gate, the up-projection
            parts[f"{ours}.experts.{e}.up.weight"] = stack(names, [config.mlp_size] * 2)
            parts[f"{ours}.experts.{e}.down.weight"] = Same(f"{theirs}.experts.{e}.w2.weight")
    return parts


def read_qwen3_moe(fields: Fields) -> GPTConfig:
    attention, layers = fields.flag("attention_bias") or None, fields.layers("num_hidden_layers")
    step, dense = fields.count("decoder_sparse_step"), fields.get("mlp_only_layers", [])
    common = read_common(fields)
    return GPTConfig(**common | {
        "mlp_dim": fields.count("moe_intermediate_size"),
        "qk_norm": True,
        "qkv_bias": attention,
        "out_bias": attention,
        "window": fields.get("sliding_window") if fields.flag("use_sliding_window") else None,
        "experts": read_experts(fields),
        "experts_per_token": fields.count("num_experts_per_tok"),
        "normalize_experts": fields.flag("norm_topk_prob"),
        "balance_loss": read_balance(fields),
        "dense_layers": tuple(layer for layer in range(layers) if layer in dense or (layer + 1) % step),
        "dense_mlp_dim": common["mlp_dim"],
    })  # fmt: skip


def write_qwen3_moe(config: GPTConfig) -> dict[str, Any]:
    return write_common(config) | write_balance(config) | {
        "intermediate_size": config.dense_mlp_dim or config.mlp_size,
        "moe_intermediate_size": config.mlp_size,
        "attention_bias": config.has_bias("qkv"),
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "num_experts": config.experts or 1,
        "num_local_experts": config.experts or 1,
        "num_experts_per_tok": config.experts_per_token,
        "norm_topk_prob": config.normalize_experts,
        "mlp_only_layers": list(config.dense_layers),
    }  # fmt: skip


def qwen3_moe_tensors(config: GPTConfig) -> dict[str, Part]:
    parts = llama_tensors(config)
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}.mlp", f"model.layers.{i}.mlp"
        parts |= mlp_parts(config.dense_mlp_dim or config.mlp_size, ours, theirs)
        parts[f"{ours}.router.weight"] = Same(f"{theirs}.gate.weight")
        for e in range(config.experts or 0):
            parts |= mlp_parts(config.mlp_size, f"{ours}.experts.{e}", f"{theirs}.experts.{e}")
    return parts


MIXTRAL = Family("mixtral", "MixtralForCausalLM", MIXTRAL_DEFAULTS, read_mixtral, write_mixtral, mixtral_tensors)
QWEN3_MOE = Family(
    "qwen3_moe", "Qwen3MoeForCausalLM", QWEN3_MOE_DEFAULTS, read_qwen3_moe, write_qwen3_moe, qwen3_moe_tensors
)
