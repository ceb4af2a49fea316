"""OPT (Zhang et al. 2022, arXiv 2205.01068): a GPT-2 with ReLU. Its table of positions begins with two unused rows."""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.gpt2 import PLAIN, PLAIN_NAMES
from llm.hub.fields import Fields
from llm.hub.weights import Part, RowsAfter, Same, same_layers, stack
from llm.model.config import GPTConfig

DEFAULTS: dict[str, Any] = {
    "vocab_size": 50272,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "ffn_dim": 3072,
    "max_position_embeddings": 2048,
    "num_attention_heads": 12,
    "activation_function": "relu",
    "do_layer_norm_before": True,
    "enable_bias": True,
    "dropout": 0.1,
    "tie_word_embeddings": True,
}


def read(fields: Fields) -> GPTConfig:
    dim, bias = fields.count("hidden_size"), fields.flag("enable_bias")
    fields.refuse_unless(word_embed_proj_dim=dim, _remove_final_layer_norm=False, layer_norm_elementwise_affine=True)
    return GPTConfig(
        vocab_size=fields.count("vocab_size"),
        context=fields.count("max_position_embeddings"),
        layers=fields.layers("num_hidden_layers"),
        heads=fields.count("num_attention_heads"),
        dim=dim,
        mlp_dim=fields.count("ffn_dim"),
        norm_position="pre" if fields.flag("do_layer_norm_before") else "post",
        mlp=fields.choice("activation_function", PLAIN),
        bias=bias,
        norm_bias=None if bias else True,
        dropout=fields.number("dropout"),
        tied_head=fields.flag("tie_word_embeddings"),
    )


def write(config: GPTConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "hidden_size": config.dim,
        "word_embed_proj_dim": config.dim,
        "ffn_dim": config.mlp_size,
        "activation_function": PLAIN_NAMES.get(config.mlp, "gelu"),
        "do_layer_norm_before": config.norm_position == "pre",
        "enable_bias": config.has_bias("qkv"),
        "dropout": config.dropout,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tied_head,
    }


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts: dict[str, Part] = {
        "embedding.weight": Same("model.decoder.embed_tokens.weight"),
        "positions.weight": RowsAfter("model.decoder.embed_positions.weight", 2),
        "head.weight": Same("lm_head.weight"),
    }
    same = {"norm": "model.decoder.final_layer_norm"}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.decoder.layers.{i}"
        same |= {f"{ours}.norm1": f"{theirs}.self_attn_layer_norm", f"{ours}.norm2": f"{theirs}.final_layer_norm"}
        same |= {f"{ours}.attention.out": f"{theirs}.self_attn.out_proj"}
        same |= {f"{ours}.mlp.up": f"{theirs}.fc1", f"{ours}.mlp.down": f"{theirs}.fc2"}
        for kind in ("weight", "bias"):
            names = [f"{theirs}.self_attn.{letter}_proj.{kind}" for letter in "qkv"]
            parts[f"{ours}.attention.qkv.{kind}"] = stack(names, [config.dim] * 3)
    return parts | same_layers(same)


OPT = Family("opt", "OPTForCausalLM", DEFAULTS, read, write, tensors)
