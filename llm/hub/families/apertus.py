"""Apertus (Swiss AI 2025, arXiv 2509.14233): a Llama with norms of queries and keys, and an MLP without a gate.

With the activation ReLU squared, this is what `train.py` makes by default.
"""

from __future__ import annotations

from llm.hub.families.gpt2 import PLAIN
from llm.hub.families.llama import ATTENTION_BIAS, LIKE_LLAMA
from llm.hub.families.rope import rope
from llm.hub.families.rows import choice

DEFAULTS = {
    "vocab_size": 131072, "intermediate_size": 14336, "max_position_embeddings": 65536, "rms_norm_eps": 1e-5,
    "hidden_act": "xielu",  # an activation with weights of its own, which this model has not
    "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 12000000.0, "factor": 8.0, "original_max_position_embeddings": 8192,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    },
}  # fmt: skip

APERTUS = LIKE_LLAMA.variant(
    "apertus",
    "ApertusForCausalLM",
    defaults=DEFAULTS,
    rows=ATTENTION_BIAS | {"hidden_act": choice("mlp", PLAIN), "rope_parameters": rope(12000000.0)},
    fixed={"qk_norm": True},
    tensor_names={
        "blocks.*.norm1": "model.layers.*.attention_layernorm",
        "blocks.*.norm2": "model.layers.*.feedforward_layernorm",
        "blocks.*.mlp.up": "model.layers.*.mlp.up_proj",
    },
)
