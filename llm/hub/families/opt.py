"""OPT (Zhang et al. 2022, arXiv 2205.01068): a GPT-2 with ReLU. Its table of positions begins with two unused rows."""

from __future__ import annotations

from llm.hub.families.family import Family
from llm.hub.families.gpt2 import PLAIN
from llm.hub.families.rows import Row, all_biases, choice, count, flag, layers, number, refuse_unless, same, written
from llm.hub.families.tensor_names import qkv, rows_after

DEFAULTS = {
    "vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "ffn_dim": 3072, "max_position_embeddings": 2048,
    "num_attention_heads": 12, "activation_function": "relu", "do_layer_norm_before": True, "enable_bias": True,
    "dropout": 0.1, "tie_word_embeddings": True,
}  # fmt: skip

OPT = Family(
    "opt",
    "OPTForCausalLM",
    defaults=DEFAULTS,
    rows={
        "vocab_size": count("vocab_size"),
        "max_position_embeddings": count("context"),
        "num_hidden_layers": layers(),
        "num_attention_heads": count("heads"),
        "hidden_size": count("dim"),
        "word_embed_proj_dim": Row(refuse_unless(lambda found: found["dim"]), same("dim")),  # narrower in OPT-350M
        "ffn_dim": count("mlp_dim"),
        "activation_function": choice("mlp", PLAIN),
        "do_layer_norm_before": flag("norm_position", yes="pre", no="post"),
        "enable_bias": all_biases(),
        "dropout": number("dropout"),
        "attention_dropout": written("dropout"),
        "tie_word_embeddings": flag("tied_head"),
    },
    fixed={},
    tensor_names={
        "embedding": "model.decoder.embed_tokens",
        "positions": rows_after(2, "model.decoder.embed_positions"),
        "blocks.*.norm1": "model.decoder.layers.*.self_attn_layer_norm",
        "blocks.*.attention.qkv": qkv("model.decoder.layers.*.self_attn.{}_proj"),
        "blocks.*.attention.out": "model.decoder.layers.*.self_attn.out_proj",
        "blocks.*.norm2": "model.decoder.layers.*.final_layer_norm",
        "blocks.*.mlp.up": "model.decoder.layers.*.fc1",
        "blocks.*.mlp.down": "model.decoder.layers.*.fc2",
        "norm": "model.decoder.final_layer_norm",
        "head": "lm_head",
    },
    only={"_remove_final_layer_norm": False, "layer_norm_elementwise_affine": True},
)
