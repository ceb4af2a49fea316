"""Mixtures of experts: Mixtral (Jiang et al. 2024, arXiv 2401.04088) is a Mistral, and Qwen3-MoE (arXiv 2505.09388) a
Qwen 3, with experts in place of the MLP.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.mistral import MISTRAL
from llm.hub.families.qwen import QWEN3
from llm.hub.families.rope import rope
from llm.hub.families.rows import Found, Row, count, flag, same, value, written
from llm.hub.families.tensor_names import gate_up
from llm.hub.fields import Fields
from llm.model.config import GPTConfig

MIXTRAL_DEFAULTS = {
    "rms_norm_eps": 1e-5, "sliding_window": None, "num_experts": 8, "num_experts_per_tok": 2,
    "router_aux_loss_coef": 0.001,
}  # fmt: skip
QWEN3_MOE_DEFAULTS = {
    "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24, "num_key_value_heads": 4, "head_dim": None,
    "decoder_sparse_step": 1, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
    "router_aux_loss_coef": 0.001,
}  # fmt: skip


def read_balance(fields: Fields, name: str, _: Found) -> dict[str, Any]:
    """The coefficient of the balancing loss, which transformers adds only if it returns the router's logits too."""
    return {"balance_loss": fields.number(name) if fields.flag("output_router_logits") else 0.0}


def write_balance(config: GPTConfig, name: str) -> dict[str, Any]:
    return {name: config.balance_loss, "output_router_logits": config.balance_loss > 0}


EXPERTS = {
    "num_experts": count("experts"),
    "num_local_experts": written("experts"),
    "num_experts_per_tok": count("experts_per_token"),
    "router_aux_loss_coef": Row(read_balance, write_balance),
}
SPELLINGS = {"num_local_experts": "num_experts"}  # both families have had both names

MIXTRAL = MISTRAL.variant(
    "mixtral",
    "MixtralForCausalLM",
    defaults=MIXTRAL_DEFAULTS,
    rows=EXPERTS | {"rope_parameters": rope(1e6), "sliding_window": value("window")},
    tensor_names={
        "blocks.*.mlp.router": "model.layers.*.block_sparse_moe.gate",
        "blocks.*.mlp.experts.*.up": gate_up(
            "model.layers.*.block_sparse_moe.experts.*.w1", "model.layers.*.block_sparse_moe.experts.*.w3"
        ),
        "blocks.*.mlp.experts.*.down": "model.layers.*.block_sparse_moe.experts.*.w2",
    },
    only={"router_jitter_noise": 0.0},
    spellings=SPELLINGS,
)


# --- Qwen3-MoE: some layers have no experts -------------------------------------------------------------------------


def read_dense_layers(fields: Fields, name: str, found: Found) -> dict[str, Any]:
    """Those of a list, and all but every n-th."""
    n, dense = fields.count("decoder_sparse_step"), fields.get(name, [])
    return {"dense_layers": tuple(layer for layer in range(found["layers"]) if layer in dense or (layer + 1) % n)}


QWEN3_MOE = QWEN3.variant(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    defaults=QWEN3_MOE_DEFAULTS,
    rows=EXPERTS
    | {
        "intermediate_size": Row(
            lambda fields, name, _: {"dense_mlp_dim": fields.count(name)},
            lambda config, name: {name: config.dense_mlp_dim or config.mlp_size},
        ),
        "moe_intermediate_size": count("mlp_dim"),  # of each expert
        "mlp_only_layers": Row(read_dense_layers, same("dense_layers")),
        "norm_topk_prob": flag("normalize_experts"),
        "sliding_window": Row(
            lambda fields, name, _: {"window": fields.get(name) if fields.flag("use_sliding_window") else None},
            lambda config, name: {name: config.window, "use_sliding_window": config.window is not None},
        ),
    },
    tensor_names={
        "blocks.*.mlp.router": "model.layers.*.mlp.gate",
        "blocks.*.mlp.experts.*.up": gate_up(
            "model.layers.*.mlp.experts.*.gate_proj", "model.layers.*.mlp.experts.*.up_proj"
        ),
        "blocks.*.mlp.experts.*.down": "model.layers.*.mlp.experts.*.down_proj",
    },
    spellings=SPELLINGS,
)
