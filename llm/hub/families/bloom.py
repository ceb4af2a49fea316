"""BLOOM (BigScience 2022, arXiv 2211.05100): ALiBi, a norm of the embeddings, and otherwise a GPT-2."""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.fields import Fields
from llm.hub.weights import Part, Same, heads_in_turns, same_layers
from llm.model.config import GPTConfig

DEFAULTS: dict[str, Any] = {
    "vocab_size": 250880,
    "hidden_size": 64,
    "n_layer": 2,
    "n_head": 8,
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}
SPELLINGS = {"n_embed": "hidden_size", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}


def read(fields: Fields) -> GPTConfig:
    fields.refuse_unless(apply_residual_connection_post_layernorm=False)
    if fields.count("pretraining_tp", 1) > 1:
        fields.refuse_unless(slow_but_exact=False)  # a sum of several products, which leaves biases out
    return GPTConfig(
        vocab_size=fields.count("vocab_size"),
        context=fields.count("seq_length", 2048),  # ALiBi sets no limit, so most files do not say it
        layers=fields.layers("n_layer"),
        heads=fields.count("n_head"),
        dim=fields.count("hidden_size"),
        positions="alibi",
        norm_eps=fields.number("layer_norm_epsilon"),
        mlp="gelu_tanh",
        dropout=fields.number("hidden_dropout", 0.0),
        tied_head=fields.flag("tie_word_embeddings"),
        embedding_norm=True,
    )


def write(config: GPTConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "seq_length": config.context,
        "n_layer": config.layers,
        "n_head": config.heads,
        "hidden_size": config.dim,
        "layer_norm_epsilon": config.norm_eps,
        "hidden_dropout": config.dropout,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tied_head,
    }


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts: dict[str, Part] = {
        "embedding.weight": Same("transformer.word_embeddings.weight"),
        "head.weight": Same("lm_head.weight"),
    }
    same = {"embedding_norm": "transformer.word_embeddings_layernorm", "norm": "transformer.ln_f"}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"transformer.h.{i}"
        same |= {f"{ours}.norm1": f"{theirs}.input_layernorm", f"{ours}.norm2": f"{theirs}.post_attention_layernorm"}
        same |= {f"{ours}.attention.out": f"{theirs}.self_attention.dense"}
        same |= {f"{ours}.mlp.up": f"{theirs}.mlp.dense_h_to_4h", f"{ours}.mlp.down": f"{theirs}.mlp.dense_4h_to_h"}
        for kind in ("weight", "bias"):
            name = f"{theirs}.self_attention.query_key_value.{kind}"
            parts[f"{ours}.attention.qkv.{kind}"] = heads_in_turns(name, config.heads, config.head_size)
    return parts | same_layers(same)


BLOOM = Family("bloom", "BloomForCausalLM", DEFAULTS, read, write, tensors, prefix="transformer.", spellings=SPELLINGS)
