"""GPT-NeoX and Pythia (Black et al. 2022, arXiv 2204.06745; Biderman et al. 2023, arXiv 2304.01373): attention and MLP
side by side, and a rotation of the first quarter of each head.
"""

from __future__ import annotations

from llm.hub.families.family import Family
from llm.hub.families.gpt2 import PLAIN
from llm.hub.families.llama import FREQUENCIES
from llm.hub.families.rope import rope, rotated_part, usual_head
from llm.hub.families.rows import bias, choice, count, flag, layers, number, written
from llm.hub.families.tensor_names import qkv_in_turns

DEFAULTS = {
    "vocab_size": 50432, "hidden_size": 6144, "num_hidden_layers": 44, "num_attention_heads": 64,
    "intermediate_size": 24576, "hidden_act": "gelu", "max_position_embeddings": 2048, "layer_norm_eps": 1e-5,
    "use_parallel_residual": True, "attention_bias": True, "rotary_emb_base": 10000.0, "rotary_pct": 0.25,
}  # fmt: skip

GPT_NEOX = Family(
    "gpt_neox",
    "GPTNeoXForCausalLM",
    defaults=DEFAULTS,
    rows={
        "vocab_size": count("vocab_size"),
        "max_position_embeddings": count("context"),
        "num_hidden_layers": layers(),
        "num_attention_heads": count("heads"),
        "hidden_size": count("dim"),
        "head_dim": usual_head(),
        "intermediate_size": count("mlp_dim"),
        "hidden_act": choice("mlp", PLAIN),
        "layer_norm_eps": number("norm_eps"),
        "hidden_dropout": number("dropout", optional=0.0),
        "attention_dropout": written("dropout"),
        "tie_word_embeddings": flag("tied_head"),
        "use_parallel_residual": flag("parallel"),
        "attention_bias": bias("qkv", "out"),
        "rope_parameters": rope(partial=True, base="rotary_emb_base", part="rotary_pct"),
        "rotary_emb_base": written("rope_base"),
        "rotary_pct": rotated_part(),
    },
    fixed={"positions": "rope"},
    tensor_names={
        "embedding": "gpt_neox.embed_in",
        "blocks.*.norm1": "gpt_neox.layers.*.input_layernorm",
        "blocks.*.attention.qkv": qkv_in_turns("gpt_neox.layers.*.attention.query_key_value"),
        "blocks.*.attention.out": "gpt_neox.layers.*.attention.dense",
        "blocks.*.norm2": "gpt_neox.layers.*.post_attention_layernorm",
        "blocks.*.mlp.up": "gpt_neox.layers.*.mlp.dense_h_to_4h",
        "blocks.*.mlp.down": "gpt_neox.layers.*.mlp.dense_4h_to_h",
        "norm": "gpt_neox.final_layer_norm",
        "head": "embed_out",
    },
    prefix="gpt_neox.",
    renamed={"lm_head.weight": "embed_out.weight"},
    surplus=("*.attention.bias", "*.attention.masked_bias", *FREQUENCIES),
)
