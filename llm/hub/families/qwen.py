"""Qwen 2, 2.5 (arXiv 2407.10671, 2412.15115) and 3 (arXiv 2505.09388): Llamas with windows in the later layers.

Qwen 2 has biases in the projections to queries, keys and values; Qwen 3 has norms of queries and keys instead.
"""

from __future__ import annotations

from llm.hub.families.llama import ATTENTION_BIAS, LIKE_LLAMA
from llm.hub.families.windows import windows

DEFAULTS = {
    "vocab_size": 151936, "intermediate_size": 22016, "num_key_value_heads": 32, "max_position_embeddings": 32768,
    "use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28,
}  # fmt: skip
WINDOWS = {
    "sliding_window": windows(
        lambda layer, fields, _: layer >= fields.get("max_window_layers", 0), switch="use_sliding_window"
    )
}

QWEN2 = LIKE_LLAMA.variant("qwen2", "Qwen2ForCausalLM", defaults=DEFAULTS, rows=WINDOWS, fixed={"qkv_bias": True})
QWEN3 = LIKE_LLAMA.variant(
    "qwen3",
    "Qwen3ForCausalLM",
    defaults=DEFAULTS | {"head_dim": 128},
    rows=WINDOWS | ATTENTION_BIAS,
    fixed={"qk_norm": True},
)
