"""Llama 2 and 3 (Touvron et al. 2023, arXiv 2307.09288; Grattafiori et al. 2024, arXiv 2407.21783), and what the
families like it share.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.rope import rope
from llm.hub.families.rows import Found, Row, bias, choice, count, flag, layers, none_if, number, same, size
from llm.hub.families.tensor_names import gate_up, qkv
from llm.hub.fields import Fields

# hidden_act -> ours, for MLPs with a gate. Of several names, the first is written.
GATED = {
    "silu": "swiglu", "swish": "swiglu", "gelu": "geglu", "gelu_python": "geglu", "gelu_pytorch_tanh": "geglu_tanh",
    "gelu_new": "geglu_tanh", "gelu_fast": "geglu_tanh", "relu": "reglu",
}  # fmt: skip
DEFAULTS = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 2048, "hidden_act": "silu", "rms_norm_eps": 1e-6,
}  # fmt: skip


def read_head_size(fields: Fields, name: str, found: Found) -> dict[str, Any]:
    size = fields.count(name, found["dim"] // found["heads"])
    return {"head_dim": none_if(size, found["dim"] / found["heads"])}


LIKE_LLAMA = Family(  # what the families like Llama share
    "",
    "",
    defaults=DEFAULTS,
    rows={
        "vocab_size": count("vocab_size"),
        "max_position_embeddings": count("context"),
        "num_hidden_layers": layers(),
        "num_attention_heads": count("heads"),
        "num_key_value_heads": size("kv_heads", lambda found: found["heads"]),
        "hidden_size": count("dim"),
        "head_dim": Row(read_head_size, same("head_dim")),
        "intermediate_size": count("mlp_dim"),
        "hidden_act": choice("mlp", GATED),
        "rms_norm_eps": number("norm_eps"),
        "attention_dropout": number("dropout", optional=0.0),
        "tie_word_embeddings": flag("tied_head"),
        "rope_parameters": rope(),
    },
    fixed={"positions": "rope", "norm": "rmsnorm", "bias": False},
    tensor_names={
        "embedding": "model.embed_tokens",
        "blocks.*.norm1": "model.layers.*.input_layernorm",
        "blocks.*.attention.qkv": qkv("model.layers.*.self_attn.{}_proj"),
        "blocks.*.attention.query_norm": "model.layers.*.self_attn.q_norm",  # these two from Qwen 3 on
        "blocks.*.attention.key_norm": "model.layers.*.self_attn.k_norm",
        "blocks.*.attention.out": "model.layers.*.self_attn.o_proj",
        "blocks.*.norm2": "model.layers.*.post_attention_layernorm",
        "blocks.*.mlp.up": gate_up("model.layers.*.mlp.gate_proj", "model.layers.*.mlp.up_proj"),
        "blocks.*.mlp.down": "model.layers.*.mlp.down_proj",
        "norm": "model.norm",
        "head": "lm_head",
    },
)
ATTENTION_BIAS = {"attention_bias": bias("qkv", "out")}  # rows that only some of them have
BIASES = ATTENTION_BIAS | {"mlp_bias": bias("mlp")}
FREQUENCIES = ("*.rotary_emb.inv_freq",)  # of rope, in old files

LLAMA = LIKE_LLAMA.variant("llama", "LlamaForCausalLM", rows=BIASES, surplus=FREQUENCIES)
