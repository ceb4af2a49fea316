"""Gemma 1, 2 and 3 (arXiv 2403.08295, 2408.00118, 2503.19786): gates with GELU, scaled embeddings, norms whose weights
are stored as the difference to 1.

Gemma 2 adds norms of outputs, soft caps, and windows in every second layer. Gemma 3 has norms of queries and keys
instead of the caps, windows in five of six layers, and another base of rope in these.
"""

from __future__ import annotations

import math
from typing import Any

from llm.hub.families.llama import ATTENTION_BIAS, GATED, LIKE_LLAMA
from llm.hub.families.rope import read_parameters, rope, write_outside, write_parameters
from llm.hub.families.rows import Found, Row, choice, head_size, none_if, same, value, written
from llm.hub.families.tensor_names import plus_one
from llm.hub.families.windows import FULL, SLIDING, windows
from llm.hub.fields import Fields
from llm.model.config import GPTConfig

DEFAULTS = {
    "vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192, "tie_word_embeddings": True,
}  # fmt: skip
DEFAULTS2 = {
    "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
    "num_key_value_heads": 4, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256,
    "sliding_window": 4096, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0,
}  # fmt: skip
DEFAULTS3 = {
    "vocab_size": 262208, "max_position_embeddings": 131072, "final_logit_softcapping": None,
    "attn_logit_softcapping": None, "sliding_window_pattern": 6,
}  # fmt: skip

# The first files of Gemma say "gelu", and mean this form of it.
TANH = {"gelu_pytorch_tanh": "geglu_tanh", **GATED, "gelu": "geglu_tanh"}


def read_dim(fields: Fields, name: str, _: Found) -> dict[str, Any]:
    return {"dim": fields.count(name), "embedding_scale": math.sqrt(fields.count(name))}


GEMMA = LIKE_LLAMA.variant(
    "gemma",
    "GemmaForCausalLM",
    defaults=DEFAULTS,
    rows=ATTENTION_BIAS | {"hidden_size": Row(read_dim, same("dim")), "hidden_act": choice("mlp", TANH)},
    tensor_names={
        "blocks.*.norm1": plus_one("model.layers.*.input_layernorm"),
        "blocks.*.norm2": plus_one("model.layers.*.post_attention_layernorm"),
        "norm": plus_one("model.norm"),
    },
    only={"use_bidirectional_attention": False},
)


# --- Gemma 2 ----------------------------------------------------------------------------------------------------------


def read_scale(fields: Fields, name: str, found: Found) -> dict[str, Any]:
    return {"attention_scale": none_if(fields.number(name) ** -0.5, 1 / math.sqrt(head_size(found)))}


def write_scale(config: GPTConfig, name: str) -> dict[str, Any]:
    scale = config.attention_scale
    # A whole number: transformers reads no other.
    return {name: config.head_size if scale is None else round(scale**-2)}


GEMMA2 = GEMMA.variant(
    "gemma2",
    "Gemma2ForCausalLM",
    defaults=DEFAULTS2,
    rows={
        "hidden_activation": choice("mlp", GATED),  # goes before hidden_act
        "query_pre_attn_scalar": Row(read_scale, write_scale),
        "attn_logit_softcapping": value("attention_soft_cap"),
        "final_logit_softcapping": value("soft_cap"),
        "sliding_window": windows(lambda layer, fields, _: layer % 2 == 0, required=True),
    },
    fixed={"norm_position": "both"},
    tensor_names={
        "blocks.*.out_norm1": plus_one("model.layers.*.post_attention_layernorm"),
        "blocks.*.norm2": plus_one("model.layers.*.pre_feedforward_layernorm"),
        "blocks.*.out_norm2": plus_one("model.layers.*.post_feedforward_layernorm"),
    },
)


# --- Gemma 3 ----------------------------------------------------------------------------------------------------------


def has_window(layer: int, fields: Fields, _: Found) -> bool:
    return (layer + 1) % fields.count("sliding_window_pattern") != 0


def read_ropes(fields: Fields, name: str, found: Found) -> dict[str, Any]:
    """The rope of layers without a window, and the base of those with one."""
    rope().read(fields, name, found)  # refuses what neither can have
    both = fields.get(name) or {}
    full = {"rope_theta": fields.get("rope_theta", 1e6), **(both.get(FULL) or {}), **(fields.get("rope_scaling") or {})}
    local = {"rope_theta": fields.get("rope_local_base_freq", 1e4), **(both.get(SLIDING) or {})}
    ours, sliding = read_parameters(fields, full, found), read_parameters(fields, local, found)
    if sliding["rope_scaling"] is not None or sliding["rope_dim"] != ours["rope_dim"]:
        raise fields.error(name, both.get(SLIDING), f"a plain rope for {SLIDING}")
    return ours | {"window_rope_base": sliding["rope_base"]}


def write_ropes(config: GPTConfig, name: str) -> dict[str, Any]:
    local = config.rope_base if config.window_rope_base is None else config.window_rope_base
    full = write_parameters(config, config.rope_base, config.rope_scaling)
    both = {FULL: full, SLIDING: write_parameters(config, local, None)}
    return write_outside(full) | {name: both, "rope_local_base_freq": local}


GEMMA3 = GEMMA2.variant(
    "gemma3_text",
    "Gemma3ForCausalLM",
    defaults=DEFAULTS3,
    rows={
        "rope_parameters": Row(read_ropes, write_ropes),
        "sliding_window": windows(has_window, required=True),
        "attn_logit_softcapping": written("attention_soft_cap"),  # a file can have one, but Gemma 3 does not use it
    },
    fixed={"qk_norm": True},
    tensor_names={
        "blocks.*.attention.query_norm": plus_one("model.layers.*.self_attn.q_norm"),
        "blocks.*.attention.key_norm": plus_one("model.layers.*.self_attn.k_norm"),
    },
)
