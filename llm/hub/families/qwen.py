"""Qwen 2, 2.5 (arXiv 2407.10671, 2412.15115) and 3 (arXiv 2505.09388): Llamas with some windows.

Qwen 2 has biases in the projections to queries, keys and values; Qwen 3 has norms of queries and keys instead.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.llama import LLAMA, read_common, tensors, write_common
from llm.hub.families.windows import read_windows, write_windows
from llm.hub.fields import Fields
from llm.model.config import GPTConfig

QWEN2_DEFAULTS: dict[str, Any] = {
    **LLAMA.defaults,
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}
QWEN3_DEFAULTS = {**QWEN2_DEFAULTS, "head_dim": 128}


def read_qwen(fields: Fields) -> dict[str, Any]:
    """What both have."""
    common = read_common(fields)
    window = fields.get("sliding_window") if fields.flag("use_sliding_window") else None
    first = fields.get("max_window_layers", 0)
    return common | read_windows(fields, window, [layer >= first for layer in range(common["layers"])])


def write_qwen(config: GPTConfig) -> dict[str, Any]:
    return write_common(config) | write_windows(config) | {"use_sliding_window": config.window is not None}


def read_qwen2(fields: Fields) -> GPTConfig:
    return GPTConfig(**read_qwen(fields), qkv_bias=True)


def read_qwen3(fields: Fields) -> GPTConfig:
    attention = fields.flag("attention_bias") or None
    return GPTConfig(**read_qwen(fields), qk_norm=True, qkv_bias=attention, out_bias=attention)


def write_qwen3(config: GPTConfig) -> dict[str, Any]:
    return write_qwen(config) | {"attention_bias": config.has_bias("qkv")}


QWEN2 = Family("qwen2", "Qwen2ForCausalLM", QWEN2_DEFAULTS, read_qwen2, write_qwen, tensors)
QWEN3 = Family("qwen3", "Qwen3ForCausalLM", QWEN3_DEFAULTS, read_qwen3, write_qwen3, tensors)
