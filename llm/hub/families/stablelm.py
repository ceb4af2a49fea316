"""StableLM (Bellagente et al. 2024, arXiv 2402.17834): a Llama with LayerNorm, and a rotation of the first quarter of
each head.
"""

from __future__ import annotations

from llm.hub.families.llama import FREQUENCIES, LIKE_LLAMA
from llm.hub.families.rope import rope, rotated_part, usual_head
from llm.hub.families.rows import Row, bias, number, written

DEFAULTS = {
    "vocab_size": 50304, "intermediate_size": 6912, "hidden_size": 2560, "num_key_value_heads": 32,
    "max_position_embeddings": 4096, "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25,
}  # fmt: skip
PARALLEL = Row(
    lambda fields, name, _: dict.fromkeys(["parallel", "shared_norm"], fields.flag(name)),
    lambda config, name: {name: config.parallel},
)

STABLELM = LIKE_LLAMA.variant(
    "stablelm",
    "StableLmForCausalLM",
    defaults=DEFAULTS,
    rows={
        "head_dim": usual_head(),
        "layer_norm_eps": number("norm_eps"),
        "rope_parameters": rope(partial=True),
        "partial_rotary_factor": rotated_part(),
        "use_qkv_bias": bias("qkv"),
        "use_parallel_residual": PARALLEL,
        "hidden_dropout": written("dropout"),
    },
    fixed={"norm": "layernorm", "norm_bias": True},
    only={"qk_layernorm": False},
    surplus=FREQUENCIES,
)
