"""Gemma 1, 2 and 3 (arXiv 2403.08295, 2408.00118, 2503.19786): gates with GELU, scaled embeddings, norms whose weights
are stored as the difference to 1.

Gemma 2 adds norms of outputs, soft caps, and windows in every second layer. Gemma 3 has norms of queries and keys
instead of the caps, windows in five of six layers, and another base of rope in these.
"""

from __future__ import annotations

import math
from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.llama import GATED, GATED_NAMES, LLAMA, none_if, read_common, write_common
from llm.hub.families.llama import tensors as llama_tensors
from llm.hub.families.rope import read_rope_parameters, write_rope_parameters
from llm.hub.families.windows import FULL, SLIDING, read_windows, write_windows
from llm.hub.fields import Fields
from llm.hub.weights import Part, PlusOne
from llm.model.config import GPTConfig

TANH = GATED | {"gelu": "geglu_tanh"}  # the first files of Gemma say "gelu", and mean this form of it

GEMMA_DEFAULTS: dict[str, Any] = {
    **LLAMA.defaults,
    "vocab_size": 256000,
    "hidden_size": 3072,
    "intermediate_size": 24576,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
GEMMA2_DEFAULTS: dict[str, Any] = {
    **GEMMA_DEFAULTS,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
}
GEMMA3_DEFAULTS: dict[str, Any] = {
    **GEMMA2_DEFAULTS,
    "vocab_size": 262208,
    "max_position_embeddings": 131072,
    "final_logit_softcapping": None,
    "attn_logit_softcapping": None,
    "sliding_window_pattern": 6,
}


def read_gemma(fields: Fields) -> dict[str, Any]:
    """What all three have."""
    fields.refuse_unless(use_bidirectional_attention=False)
    attention = fields.flag("attention_bias") or None
    common = read_common(fields, activations=TANH)
    return common | {"embedding_scale": math.sqrt(common["dim"]), "qkv_bias": attention, "out_bias": attention}


def write_gemma(config: GPTConfig) -> dict[str, Any]:
    names = GATED_NAMES | {"geglu": "gelu_python"}  # "gelu" would mean its tanh form
    return write_common(config) | {
        "hidden_act": names.get(config.mlp, "silu"),
        "attention_bias": config.has_bias("qkv"),
    }


def read_gemma1(fields: Fields) -> GPTConfig:
    return GPTConfig(**read_gemma(fields))


def read_later(fields: Fields, by_rule: list[bool]) -> dict[str, Any]:
    """What Gemma 2 and 3 have."""
    scale = fields.number("query_pre_attn_scalar") ** -0.5
    common = read_gemma(fields)
    plain = 1 / math.sqrt(common["head_dim"] or common["dim"] // common["heads"])
    return common | {
        "mlp": fields.choice("hidden_activation", GATED),
        "norm_position": "both",
        "attention_scale": none_if(scale, plain),
        "attention_soft_cap": fields.get("attn_logit_softcapping"),
        "soft_cap": fields.get("final_logit_softcapping"),
        **read_windows(fields, fields.get("sliding_window"), by_rule),
    }


def write_later(config: GPTConfig) -> dict[str, Any]:
    more = write_gemma(config) | write_windows(config)
    scale = config.attention_scale
    return more | {
        "sliding_window": config.window or config.context,  # transformers needs one even if no layer has it
        "hidden_activation": GATED_NAMES.get(config.mlp, "silu"),
        # A whole number: transformers reads no other.
        "query_pre_attn_scalar": config.head_size if scale is None else round(scale**-2),
        "attn_logit_softcapping": config.attention_soft_cap,
        "final_logit_softcapping": config.soft_cap,
    }


def read_gemma2(fields: Fields) -> GPTConfig:
    return GPTConfig(**read_later(fields, [layer % 2 == 0 for layer in range(fields.layers("num_hidden_layers"))]))


def read_gemma3(fields: Fields) -> GPTConfig:
    every, layers = fields.count("sliding_window_pattern"), fields.layers("num_hidden_layers")
    found = read_later(fields, [(layer + 1) % every != 0 for layer in range(layers)])
    found["attention_soft_cap"] = None  # config.json can have a value, but Gemma 3 computes without it
    head_size = found["head_dim"] or found["dim"] // found["heads"]
    both = fields.get("rope_parameters") or {}
    full = dict(both.get(FULL) or {}) | (fields.get("rope_scaling") or {})
    found |= read_rope_parameters(fields, full, {"rope_theta": fields.get("rope_theta")}, head_size, 1e6)
    local = {"rope_theta": fields.get("rope_local_base_freq")}
    sliding = read_rope_parameters(fields, both.get(SLIDING) or {}, local, head_size, 1e4)
    if sliding["rope_scaling"] is not None or sliding["rope_dim"] != found["rope_dim"]:
        raise fields.error("rope_parameters", both.get(SLIDING), f"a plain rope for {SLIDING}")
    found["attention_soft_cap"] = None  # transformers has the field here too, and does not use it
    return GPTConfig(**found, window_rope_base=sliding["rope_base"], qk_norm=True)


def write_gemma3(config: GPTConfig) -> dict[str, Any]:
    local = config.rope_base if config.window_rope_base is None else config.window_rope_base
    both = {
        FULL: write_rope_parameters(config, config.rope_base, config.rope_scaling),
        SLIDING: write_rope_parameters(config, local, None),
    }
    fields = write_later(config) | {"rope_parameters": both, "rope_local_base_freq": local}
    return {name: value for name, value in fields.items() if name != "rope_scaling"}


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts = llama_tensors(config)
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        norms = {"attention.query_norm": "self_attn.q_norm", "attention.key_norm": "self_attn.k_norm"}
        norms |= {"norm1": "input_layernorm", "norm2": "post_attention_layernorm"}
        if config.norm_position == "both":
            norms |= {"norm2": "pre_feedforward_layernorm"}
            norms |= {"out_norm1": "post_attention_layernorm", "out_norm2": "post_feedforward_layernorm"}
        parts |= {f"{ours}.{name}.weight": PlusOne(f"{theirs}.{other}.weight") for name, other in norms.items()}
    parts["norm.weight"] = PlusOne("model.norm.weight")
    return parts


GEMMA = Family("gemma", "GemmaForCausalLM", GEMMA_DEFAULTS, read_gemma1, write_gemma, tensors)
GEMMA2 = Family("gemma2", "Gemma2ForCausalLM", GEMMA2_DEFAULTS, read_gemma2, write_later, tensors)
GEMMA3 = Family("gemma3_text", "Gemma3ForCausalLM", GEMMA3_DEFAULTS, read_gemma3, write_gemma3, tensors)
