"""OLMo 2 (Walsh et al. 2025, arXiv 2501.00656): a Llama that normalises the outputs of sublayers, not their inputs, and
queries and keys over all heads at once.
"""

from __future__ import annotations

from llm.hub.families.llama import ATTENTION_BIAS, LIKE_LLAMA

OLMO2 = LIKE_LLAMA.variant(
    "olmo2",
    "Olmo2ForCausalLM",
    defaults={"vocab_size": 50304, "rms_norm_eps": 1e-5},
    rows=ATTENTION_BIAS,
    fixed={"norm_position": "output", "qk_norm": True, "qk_norm_all": True},
    tensor_names={
        "blocks.*.norm1": "model.layers.*.post_attention_layernorm",
        "blocks.*.norm2": "model.layers.*.post_feedforward_layernorm",
    },
)
