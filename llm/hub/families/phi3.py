"""Phi-3 (Abdin et al. 2024, arXiv 2404.14219): a Llama with partial rotation, LongRoPE for its long form, and matrices
that are put together as here: queries, keys and values; gate and up-projection.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.llama import LIKE_LLAMA
from llm.hub.families.rope import KINDS, ORIGINAL, rope
from llm.hub.families.rows import Row, unread, value, written
from llm.model.config import GPTConfig

DEFAULTS = {
    "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "max_position_embeddings": 4096,
    ORIGINAL: 4096, "rms_norm_eps": 1e-5,
}  # fmt: skip


def write_original(config: GPTConfig, name: str) -> dict[str, Any]:
    return {name: config.rope_scaling.original_context if config.rope_scaling else config.context}


PHI3 = LIKE_LLAMA.variant(
    "phi3",
    "Phi3ForCausalLM",
    defaults=DEFAULTS,
    rows={
        # In the first of these models, "yarn" was another name of longrope.
        "rope_parameters": rope(partial=True, kinds=KINDS | {"yarn": "longrope"}),
        ORIGINAL: Row(unread, write_original),  # `rope` reads it
        "sliding_window": value("window"),
        "resid_pdrop": written("dropout"),
        "embd_pdrop": written("dropout"),
    },
    tensor_names={
        "blocks.*.attention.qkv": "model.layers.*.self_attn.qkv_proj",
        "blocks.*.mlp.up": "model.layers.*.mlp.gate_up_proj",
    },
)
